"""A demonstration of the whole mesh: start it, have a story told and a question answered by three clients on a budgeted
key, read the story aloud, write down what was said and count the wrong words, speak Telugu, compare the spend with the
costs that clients were told, show a refusal, stop. It exits with 1 if a step fails.

`make demo` runs it; `make demo KEEP=FOLDER` keeps the recordings there. It needs the packages of a development
environment (`openai`) and `curl`.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import openai

from enginehouse.client import BudgetExhausted, Enginehouse, EnginehouseError

COMMAND = str(Path(sys.executable).parent / "enginehouse")
STORY = (
    "Write a short story in two paragraphs about a clever crow who is thirsty and finds a jug of water. "
    "The story should have a happy ending."
)
# Any seed tells a story, of mixed sense. This one tells the same at every run on one kind of machine.
SEED = 3
QUESTION = "What is a crow? Answer in one sentence."
TELUGU = "ఒక కాకి దాహంతో నీళ్ళ కోసం వెతికింది. దానికి ఒక కుండ కనిపించింది."
SPOKEN_CHARACTERS = 600
MAX_WORD_ERROR_RATE = 0.1
BUDGET_NANOS = 50_000_000
READY_WITHIN_S = 20.0


class DemoError(Exception):
    """A step of the demonstration failed."""


def main() -> int:
    """Run the demonstration; return the exit code."""
    parser = argparse.ArgumentParser(description="Show the whole mesh at work.")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the recordings in this folder")
    keep = parser.parse_args().keep
    if shutil.which("curl") is None:
        sys.stderr.write("demo: curl is not installed; install it, it is one of the three clients\n")
        return 1
    # A short path: PostgreSQL's socket lies below it.
    folder = Path(tempfile.mkdtemp(prefix="enginehouse-demo-"))
    data = folder / "data"
    try:
        port = 8080 if is_free(8080) else free_port()
        try:
            show(data, port, keep or folder)
            if keep is None:
                say("The recordings go with the demonstration's folder; `make demo KEEP=recordings` keeps them.")
        finally:
            say("Stopping")
            stopped = enginehouse("down", "--data", str(data), "--json")
            say(f"  stopped in {stopped['seconds']} s")
        return 0
    except (DemoError, EnginehouseError, openai.OpenAIError) as error:
        sys.stderr.write(f"demo failed: {error}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def show(data: Path, port: int, recordings: Path) -> None:
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
    say(f"\nCreated {made['id']} with a budget of ${BUDGET_NANOS / 10**9:g}")

    say(f"\nA story, by the openai package, which asks for gpt-4o-mini (seed {SEED}):")
    story, cost = over_openai(url, made["key"], began)
    costs = [cost]
    say("\nA question, by the Python client over gRPC:")
    costs.append(over_grpc(url, made["key"]))
    say("\nThe same by curl:")
    costs.append(over_curl(url, made["key"]))
    recordings.mkdir(parents=True, exist_ok=True)
    costs += aloud(url, made["key"], beginning(story), recordings)

    settled = wait_for_spend(data, made["id"], sum(costs))
    say(f"\nCosts: {' + '.join(str(cost) for cost in costs)} = {sum(costs)} nano-dollars; settled: {settled}")
    if settled != sum(costs):
        raise DemoError(f"the ledger has {settled} nano-dollars and the clients were told {sum(costs)}")

    poor = enginehouse("keys", "create", "--name", "poor", "--budget-nanos", "1", "--data", str(data), "--json")
    say(f"\nA key with a budget of 1 nano-dollar: {refusal(url, poor['key'])}")
    if enginehouse("spend", "--key", poor["id"], "--data", str(data), "--json")["total_nanos"] != 0:
        raise DemoError("the refused request was billed")
    say("")


def over_openai(url: str, key: str, began: float) -> tuple[str, int]:
    """Stream a story with the unmodified OpenAI package; return it and its cost."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
    text, cost = "", None
    asked = time.monotonic()
    response = client.chat.completions.with_raw_response.create(
        model="gpt-4o-mini",
        messages=[{"role": "user", "content": STORY}],
        max_tokens=400,
        seed=SEED,
        stream=True,
        stream_options={"include_usage": True},
    )
    loading = int(response.headers.get("x-enginehouse-load-ms", 0)) / 1000
    first, end = 0.0, ""
    for chunk in response.parse():
        choice = chunk.choices[0] if chunk.choices else None
        if choice is not None and choice.delta.content:
            if not first:
                first = time.monotonic()
                say("  ", end="")
            text += choice.delta.content
            say(choice.delta.content.replace("\n", "\n  "), end="")
        if choice is not None and choice.finish_reason:
            end = choice.finish_reason
        if chunk.usage is not None:
            cost = (chunk.usage.model_extra or {}).get("cost_nanos")
            rate = chunk.usage.completion_tokens / max(time.monotonic() - first, 1e-3)
            tokens = f"{chunk.usage.completion_tokens} tokens at {rate:.0f} a second"
            say(f"\n  [{chunk.model}, {tokens}, {cost} nano-dollars]")
    if not cost or end != "stop":
        raise DemoError(f"the story ended by {end!r}, at a cost of {cost}; it was to end by itself")
    say(f"  [first token {first - asked:.1f} s after the request, {loading:.1f} s of them to load the model;")
    say(f"   {first - began:.1f} s after the start of the mesh]")
    return text, cost


def over_grpc(url: str, key: str) -> int:
    """Stream with the Python client; return the cost."""
    with Enginehouse(url, key) as mesh, mesh.stream(QUESTION, max_output_tokens=60, temperature=0) as stream:
        say("  ", end="")
        for text in stream:
            say(text, end="")
        answer = stream.result
    say(f"\n  [{answer.model}, {answer.usage.get('output_tokens')} tokens, {answer.cost_nanos} nano-dollars]")
    if not answer.cost_nanos:
        raise DemoError("the answer over gRPC has no cost")
    return answer.cost_nanos


def over_curl(url: str, key: str) -> int:
    """Call with curl; return the cost."""
    body = {"model": "auto", "messages": [{"role": "user", "content": QUESTION}], "max_tokens": 60, "temperature": 0}
    command = ["curl", "-sS", "--fail-with-body", f"{url}/v1/chat/completions"]
    command += ["-H", "content-type: application/json", "-H", "@-", "-d", json.dumps(body)]
    # The key is passed by standard input: arguments are visible to all users of the machine.
    done = subprocess.run(
        command, input=f"authorization: Bearer {key}\n", capture_output=True, text=True, check=False, timeout=120
    )
    if done.returncode != 0:
        raise DemoError(f"curl failed: {done.stdout.strip() or done.stderr.strip()}")
    answer = json.loads(done.stdout)
    usage = answer["usage"]
    text = answer["choices"][0]["message"]["content"]
    say(f"  {text}")
    say(f"  [{answer['model']}, {usage['completion_tokens']} tokens, {usage['cost_nanos']} nano-dollars]")
    return int(usage["cost_nanos"])


def aloud(url: str, key: str, text: str, recordings: Path) -> list[int]:
    """Speak an English text, write down what was said, and speak Telugu; return the costs."""
    with Enginehouse(url, key) as mesh:
        say("\nThe story's beginning, read aloud:")
        audio, spoken = recorded(mesh, text, recordings / "story.wav")
        say("\nWhat was said, written down:")
        transcription = mesh.transcribe(audio)
        say(f"  {transcription.text}")
        rate = word_error_rate(text, transcription.text)
        seconds = f"{transcription.duration_ms / 1000:.1f} s of audio"
        say(f"  [{transcription.model}, {seconds}, {transcription.cost_nanos} nano-dollars; wrong words: {rate:.1%}]")
        if rate >= MAX_WORD_ERROR_RATE:
            raise DemoError(f"{rate:.1%} of the words are wrong, {MAX_WORD_ERROR_RATE:.0%} were to be the most")
        say("\nTelugu, read aloud:")
        say(f"  {TELUGU}")
        _, telugu = recorded(mesh, TELUGU, recordings / "telugu.wav")
    if not transcription.cost_nanos:
        raise DemoError("the transcript has no cost")
    return [spoken, transcription.cost_nanos, telugu]


def recorded(mesh: Enginehouse, text: str, path: Path) -> tuple[bytes, int]:
    """Speak a text by the model that the router chooses, and save it; return the recording and its cost."""
    asked = time.monotonic()
    stream = mesh.speak(text, encoding="wav")
    audio = stream.read()
    took = time.monotonic() - asked
    path.write_bytes(audio)
    seconds, cost = stream.summary.audio_ms / 1000, stream.summary.cost_nanos
    say(f"  [{stream.model}, {seconds:.1f} s of speech in {took:.1f} s, {cost} nano-dollars; {path}]")
    if not cost or seconds < 1:
        raise DemoError("no speech")
    return audio, cost


def beginning(story: str) -> str:
    """Return the story's first sentences."""
    spoken = ""
    for sentence in re.split(r"(?<=[.!?])\s+", story.strip()):
        if spoken and len(spoken) + len(sentence) > SPOKEN_CHARACTERS:
            break
        spoken = f"{spoken} {sentence}".strip()
    return spoken


def word_error_rate(said: str, heard: str) -> float:
    """Return the edits from the words that were said to those that were heard, per word that was said."""
    expected, got = (re.findall(r"[a-z']+", text.lower()) for text in (said, heard))
    row = list(range(len(got) + 1))
    for number, word in enumerate(expected, start=1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(got, start=1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (word != other))
    return row[-1] / max(1, len(expected))


def refusal(url: str, key: str) -> str:
    """Return the error of a key that cannot pay."""
    with Enginehouse(url, key) as mesh:
        try:
            mesh.generate(QUESTION)
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
