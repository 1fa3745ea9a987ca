"""The command `chat`."""

from __future__ import annotations

from typing import Any


def test_an_answer_is_printed_with_its_cost_on_stderr(cli: Any, service: Any, answer: Any) -> None:
    service.answers["Generate"] = answer
    done = cli("chat", "Tell me", "--system", "Be brief", "--max-tokens", "9", "--temperature", "0", "--seed", "3")
    assert done.exit_code == 0
    assert done.stdout == "A clever crow.\n"
    assert "tiny, 4 tokens in 3 ms, $0.0000015" in done.stderr
    request = service.requests[0]
    assert [message.content for message in request.messages] == ["Be brief", "Tell me"]
    assert (request.model, request.max_output_tokens, request.sampling.seed) == ("auto", 9, 3)
    assert request.sampling.HasField("temperature")


def test_json_has_the_complete_answer(cli: Any, service: Any, answer: Any) -> None:
    service.answers["Generate"] = answer
    assert cli.json("chat", "Tell me", "--model", "tiny") == {
        "text": "A clever crow.",
        "model": "tiny",
        "request_id": "r1",
        "finish_reason": "stop",
        "stopped_by": "",
        "usage": {"output_tokens": 4},
        "cost_nanos": 1500,
        "time_to_first_token_ms": 2,
        "total_ms": 3,
    }


def test_standard_input_is_a_prompt(cli: Any, service: Any, answer: Any) -> None:
    service.answers["Generate"] = answer
    assert cli("chat", stdin="from a pipe").exit_code == 0
    assert service.requests[0].messages[0].content == "from a pipe"


def test_an_empty_prompt_is_an_error(cli: Any, service: Any) -> None:
    done = cli("chat", stdin="  \n")
    assert done.exit_code == 1
    assert done.stderr == "enginehouse: no prompt: give one as argument or on standard input\n"
    assert service.requests == []
