"""Policies and feedback, synchronously. Requests and answers are the contract's own messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from enginehouse.api.router.v1 import feedback_pb2, feedback_pb2_grpc, policy_pb2, policy_pb2_grpc
from enginehouse.client.requests import feedback as feedback_requests


class Policies:
    """Which models requests may go to, and what is learned of them; the key needs the scope `admin`, but for `rate`.

    Every method raises EnginehouseError.
    """

    def __init__(self, channel: grpc.Channel, unary: Callable[..., Any]) -> None:
        self._stub = policy_pb2_grpc.PolicyServiceStub(channel)
        self._feedback = feedback_pb2_grpc.FeedbackServiceStub(channel)
        self._unary = unary

    def get(self, name: str = "default", *, version: int = 0) -> policy_pb2.Policy:
        """A document as it is in force, or as it was in a version."""
        request = policy_pb2.GetPolicyRequest(name=name, version=version)
        answer: policy_pb2.GetPolicyResponse = self._unary(self._stub.GetPolicy, request)
        return answer.policy

    def list(self) -> Iterator[policy_pb2.Policy]:
        """The documents in force, by name, fetched page by page."""
        request = policy_pb2.ListPoliciesRequest(page_size=1000)
        while True:
            page: policy_pb2.ListPoliciesResponse = self._unary(self._stub.ListPolicies, request)
            yield from page.policies
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def set(self, policy: policy_pb2.Policy, *, expected_version: int | None = None) -> policy_pb2.Policy:
        """Puts a document in force everywhere within a second; with a version, only if that is in force still."""
        request = policy_pb2.SetPolicyRequest(policy=policy, expected_version=expected_version)
        answer: policy_pb2.SetPolicyResponse = self._unary(self._stub.SetPolicy, request)
        return answer.policy

    def delete(self, name: str) -> None:
        """Takes a document out of force."""
        self._unary(self._stub.DeletePolicy, policy_pb2.DeletePolicyRequest(name=name))

    def check(self, policy: policy_pb2.Policy) -> policy_pb2.CheckPolicyResponse:
        """What is wrong with a document; changes nothing."""
        answer: policy_pb2.CheckPolicyResponse = self._unary(
            self._stub.CheckPolicy, policy_pb2.CheckPolicyRequest(policy=policy)
        )
        return answer

    def rate(
        self, request_id: str, *, good: bool | None = None, score: float | None = None, judge: str = ""
    ) -> feedback_pb2.RecordFeedbackResponse:
        """Rates an answer by its request's id: a thumb, or a score from 0 to 1, a judge's if one is named.

        Raises:
            ValueError: not exactly one of `good` and `score` is given, or a judge without a score.
        """
        request = feedback_requests.record(request_id, good=good, score=score, judge=judge)
        answer: feedback_pb2.RecordFeedbackResponse = self._unary(self._feedback.RecordFeedback, request)
        return answer

    def feedback(self, *, model: str = "", days: int = 0) -> feedback_pb2.SummarizeFeedbackResponse:
        """Ratings by model and class of prompt, of the last so many days (0 for 90)."""
        request = feedback_pb2.SummarizeFeedbackRequest(model=model, days=days)
        answer: feedback_pb2.SummarizeFeedbackResponse = self._unary(self._feedback.SummarizeFeedback, request)
        return answer
