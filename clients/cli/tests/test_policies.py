"""Policy documents as files, and ratings of answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from enginehouse.api.router.v1 import feedback_pb2, policy_pb2

YAML = """
name: default
tiers:
  - tier: pro
    rules: {quality_floor: 0.3, deny: [huge]}
fallbacks:
  - {model: small, models: [large], for_named: true}
"""


def policy(**fields: Any) -> policy_pb2.Policy:
    made = policy_pb2.Policy(name="default", **fields)
    made.tiers.add(tier="pro").rules.deny.append("huge")
    return made


def test_a_document_is_set_from_a_file_and_printed_as_one(cli: Any, service: Any, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(YAML)
    service.answers["SetPolicy"] = policy_pb2.SetPolicyResponse(policy=policy(version=4))
    assert cli("policies", "set", str(file), "--expected-version", "3").stdout == "default: version 4 applied\n"
    request = service.requests[0]
    assert request.expected_version == 3
    assert request.policy.tiers[0].rules.quality_floor == 0.3
    assert request.policy.fallbacks[0].for_named
    service.answers["GetPolicy"] = policy_pb2.GetPolicyResponse(policy=request.policy)
    file.write_text(cli("policies", "get", "--version", "2").stdout)
    assert service.requests[1].version == 2
    assert cli.json("policies", "set", str(file))["version"] == "4"
    assert service.requests[2].policy == request.policy


def test_an_invalid_file_is_not_sent(cli: Any, service: Any, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("name: default\nteirs: []\n")
    done = cli("policies", "set", str(file))
    assert done.exit_code == 2
    assert "teirs" in done.stderr
    assert service.requests == []


def test_problems_of_a_document_are_printed(cli: Any, service: Any, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(YAML)
    service.answers["CheckPolicy"] = policy_pb2.CheckPolicyResponse(
        problems=[{"field": "tiers.pro.deny", "description": "'huge' is not in the catalog"}]
    )
    done = cli("policies", "check", str(file))
    assert done.exit_code == 1
    assert done.stdout == "tiers.pro.deny: 'huge' is not in the catalog\n"
    service.answers["CheckPolicy"] = policy_pb2.CheckPolicyResponse()
    assert cli("policies", "check", str(file)).exit_code == 0


def test_documents_are_listed_and_deleted(cli: Any, service: Any) -> None:
    service.answers["ListPolicies"] = policy_pb2.ListPoliciesResponse(
        policies=[policy(), policy_pb2.Policy(name="special", version=2, tenants=["ten_1"])]
    )
    service.answers["DeletePolicy"] = policy_pb2.DeletePolicyResponse()
    listed = cli("policies", "list").stdout
    assert "configuration" in listed
    assert "ten_1" in listed
    assert [policy["name"] for policy in cli.json("policies", "list")["policies"]] == ["default", "special"]
    assert cli.json("policies", "delete", "special") == {"name": "special", "deleted": True}


def test_answers_are_rated_and_ratings_shown(cli: Any, service: Any) -> None:
    service.answers["RecordFeedback"] = feedback_pb2.RecordFeedbackResponse(model="tiny", prompt_class="generate/1")
    assert cli.json("feedback", "rate", "req_1", "--bad")["model"] == "tiny"
    cli("feedback", "rate", "req_1", "--score", "0.5", "--judge", "grader")
    cli("feedback", "rate", "req_1", "--score", "0")
    assert service.requests[0].thumb == feedback_pb2.THUMB_DOWN
    assert (service.requests[1].judge.judge, service.requests[1].judge.score) == ("grader", 0.5)
    assert service.requests[2].WhichOneof("rating") == "score"
    done = cli("feedback", "rate", "req_1")
    assert done.exit_code == 1
    assert "exactly one of good and score" in done.stderr
    service.answers["SummarizeFeedback"] = feedback_pb2.SummarizeFeedbackResponse(
        summaries=[{"model": "tiny", "prompt_class": "generate/1", "ratings": 3, "mean_score": 0.5}]
    )
    assert cli.json("feedback", "show")["summaries"][0]["mean_score"] == 0.5
    assert "0.500" in cli("feedback", "show", "--days", "7").stdout
