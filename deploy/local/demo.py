"""A demonstration of the whole mesh: start it, generate with three clients on a budgeted key, turn the text into speech
and back, compare the spend with the costs that clients were told, show a refusal, stop. It exits with 1 if a
step fails.

`make demo` runs it. It needs the packages of a development environment (`openai`) and `curl`.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import openai

from enginehouse.client import BudgetExhausted, Enginehouse

COMMAND = str(Path(sys.executable).parent / "enginehouse")
PROMPT = "Tell me a story about a clever crow"
BUDGET_NANOS = 50_000_000
READY_WITHIN_S = 20.0


class DemoError(Exception):
    """A step of the demonstration failed."""


def main() -> int:
    """Run the demonstration; return the exit code."""
    if shutil.which("curl") is None:
        sys.stderr.write("demo: curl is not installed; install it, it is one of the three clients\n")
        return 1
    # A short path: PostgreSQL's socket lies below it.
    folder = Path(tempfile.mkdtemp(prefix="enginehouse-demo-"))
    data = folder / "data"
    try:
        port = 8080 if is_free(8080) else free_port()
        try:
            show(data, port)
        finally:
            say("Stopping")
            stopped = enginehouse("down", "--data", str(data), "--json")
            say(f"  stopped in {stopped['seconds']} s")
        return 0
    except DemoError as error:
        sys.stderr.write(f"demo failed: {error}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(data: Path, port: int) -> None:
    """Run the steps between `up` and `down`."""
    say(f"Starting the mesh on port {port}, with its data in {data}")
    began = time.monotonic()
    up = enginehouse("up", "--data", str(data), "--port", str(port), "--detach", "--json")
    took = time.monotonic() - began
    status = enginehouse("status", "--data", str(data), "--json")
    for process in status["processes"]:
        say(f"  {process['name']:<12} pid {process['pid']:<8} {process['memory_bytes'] / 2**20:6.0f} MiB")
    slow = f" (more than {READY_WITHIN_S:g} s: is the machine busy?)" if took > READY_WITHIN_S else ""
    say(f"  ready after {took:.1f} s{slow}; {status['memory_bytes'] / 2**20:.0f} MiB of memory in total when idle")
    url = up["url"]

    made = enginehouse(
        *("keys", "create", "--name", "demo", "--budget-nanos", str(BUDGET_NANOS), "--data", str(data), "--json")
    )
    say(f"\nCreated {made['id']} with a budget of {dollars(BUDGET_NANOS)}")

    say("\nThe openai package, streaming, model auto:")
    costs = [over_openai(url, made["key"])]
    say("\nThe Python client over gRPC:")
    costs.append(over_grpc(url, made["key"]))
    say("\ncurl:")
    text, cost = over_curl(url, made["key"])
    costs.append(cost)

    say("\nText to speech, and speech to text:")
    costs += speech_and_transcript(url, made["key"], text)

    settled = wait_for_spend(data, made["id"], sum(costs))
    say(f"\nCosts: {' + '.join(str(cost) for cost in costs)} = {sum(costs)} nano-dollars; settled: {settled}")
    if settled != sum(costs):
        raise DemoError(f"the ledger has {settled} nano-dollars and the clients were told {sum(costs)}")

    poor = enginehouse("keys", "create", "--name", "poor", "--budget-nanos", "1", "--data", str(data), "--json")
    say(f"\nA key with a budget of 1 nano-dollar: {refusal(url, poor['key'])}")
    if enginehouse("spend", "--key", poor["id"], "--data", str(data), "--json")["total_nanos"] != 0:
        raise DemoError("the refused request was billed")
    say("")


def over_openai(url: str, key: str) -> int:
    """Stream a chat with the unmodified OpenAI package; return its cost."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    cost: int | None = None
    stream = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": PROMPT}],
        max_tokens=60,
        stream=True,
        stream_options={"include_usage": True},
    )
    say("  ", end="")
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            say(chunk.choices[0].delta.content, end="")
        if chunk.usage is not None:
            cost = (chunk.usage.model_extra or {}).get("cost_nanos")
            say(f"\n  [{chunk.model}, {chunk.usage.completion_tokens} tokens, {cost} nano-dollars]")
    if not cost:
        raise DemoError("the stream ended without its cost")
    return cost


def over_grpc(url: str, key: str) -> int:
    """Stream with the Python client; return the cost."""
    with Enginehouse(url, key) as mesh, mesh.stream(PROMPT, max_output_tokens=60) as stream:
        say("  ", end="")
        for text in stream:
            say(text, end="")
        answer = stream.result
    say(f"\n  [{answer.model}, {answer.usage.get('output_tokens')} tokens, {answer.cost_nanos} nano-dollars]")
    if not answer.cost_nanos:
        raise DemoError("the answer over gRPC has no cost")
    return answer.cost_nanos


def over_curl(url: str, key: str) -> tuple[str, int]:
    """Call with curl; return the answer and its cost."""
    body = {"model": "auto", "messages": [{"role": "user", "content": PROMPT}], "max_tokens": 60}
    command = ["curl", "-sS", "--fail-with-body", f"{url}/v1/chat/completions"]
    command += ["-H", "content-type: application/json", "-H", "@-", "-d", json.dumps(body)]
    # The key is passed by standard input: arguments are visible to all users of the machine.
    done = subprocess.run(
        command, input=f"authorization: Bearer {key}\n", capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode != 0:
        raise DemoError(f"curl failed: {done.stdout.strip() or done.stderr.strip()}")
    answer = json.loads(done.stdout)
    usage = answer["usage"]
    text = answer["choices"][0]["message"]["content"]
    say(f"  {text}")
    say(f"  [{answer['model']}, {usage['completion_tokens']} tokens, {usage['cost_nanos']} nano-dollars]")
    return text, int(usage["cost_nanos"])


def speech_and_transcript(url: str, key: str, text: str) -> list[int]:
    """Turn a text into speech and the speech into text; return the costs of both."""
    with Enginehouse(url, key) as mesh:
        # The voice that the recogniser understands best, and a short text, to keep the demonstration quick.
        stream = mesh.speak(text[:200], voice="en-us+edward", encoding="wav", sample_rate=16_000)
        audio = stream.read()
        summary = stream.summary
        seconds, cost = summary.audio_ms / 1000, summary.cost_nanos
        say(f"  [{stream.model}, {seconds:.1f} s of speech in {len(audio) // 1024} KiB, {cost} nano-dollars]")
        transcription = mesh.transcribe(audio)
    say(f"  {transcription.text}")
    audio_s = transcription.duration_ms / 1000
    say(f"  [{transcription.model}, {audio_s:.1f} s of audio, {transcription.cost_nanos} nano-dollars]")
    say("  The small recogniser understands synthetic voices badly; docs/voice.md says how to use Whisper instead.")
    if not cost or not transcription.cost_nanos or seconds < 1:
        raise DemoError("no speech, or no transcript")
    return [cost, transcription.cost_nanos]


def refusal(url: str, key: str) -> str:
    """Return the error of a key that cannot pay."""
    with Enginehouse(url, key) as mesh:
        try:
            mesh.generate(PROMPT)
        except BudgetExhausted as error:
            return f"{error.reason}: {error.message}"
    raise DemoError("a key without money was served")


def wait_for_spend(data: Path, key_id: str, expected: int) -> int:
    """Return the key's settled spend once it is the expected one, or after ten seconds."""
    deadline = time.monotonic() + 10
    while True:
        total = int(enginehouse("spend", "--key", key_id, "--data", str(data), "--json")["total_nanos"])
        if total == expected or time.monotonic() > deadline:
            return total
        time.sleep(0.2)


def enginehouse(*arguments: str) -> Any:
    """Run the command with these arguments; return the JSON that it prints."""
    done = subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=180, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise DemoError(f"`enginehouse {' '.join(arguments[:2])}` failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def dollars(nanos: int) -> str:
    """Return nano-dollars as dollars."""
    return f"${nanos / 10**9:g}"


def is_free(port: int) -> bool:
    """Return whether the port of the loopback interface is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a free port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(text: str, *, end: str = "\n") -> None:
    """Print without buffering, so that streams are visible."""
    sys.stdout.write(text + end)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
