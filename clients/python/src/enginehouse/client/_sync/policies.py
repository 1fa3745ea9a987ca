# Generated from _async/policies.py by clients/python/unasync.py (`make client`). Do not edit.
"""Policies and feedback. Requests and responses are the contract's own messages."""

from __future__ import annotations

from collections.abc import Iterator

from enginehouse.api.router.v1 import feedback_pb2, feedback_pb2_grpc, policy_pb2, policy_pb2_grpc
from enginehouse.client._sync.transport import Transport
from enginehouse.client.requests import feedback as feedback_requests


class Policies:
    """Routing policies, and ratings of answers. The key needs the scope `admin`, except for `rate`.

    Every method raises EnginehouseError.
    """

    def __init__(self, *, transport: Transport) -> None:
        self._transport = transport
        self._stub = policy_pb2_grpc.PolicyServiceStub(transport.channel)
        self._feedback = feedback_pb2_grpc.FeedbackServiceStub(transport.channel)

    def get(self, name: str = "default", *, version: int = 0) -> policy_pb2.Policy:
        """Return a document: the one in force (0), or an earlier version."""
        request = policy_pb2.GetPolicyRequest(name=name, version=version)
        response = self._transport.unary(self._stub.GetPolicy, request)
        return response.policy

    def list(self) -> Iterator[policy_pb2.Policy]:
        """List the documents in force, by name, fetched page by page."""
        request = policy_pb2.ListPoliciesRequest(page_size=1000)
        for page in self._transport.pages(self._stub.ListPolicies, request):
            yield from page.policies

    def set(self, policy: policy_pb2.Policy, *, expected_version: int | None = None) -> policy_pb2.Policy:
        """Put a document in force everywhere within a second; with a version, only if that one is still in force."""
        request = policy_pb2.SetPolicyRequest(policy=policy, expected_version=expected_version)
        response = self._transport.unary(self._stub.SetPolicy, request)
        return response.policy

    def delete(self, name: str) -> None:
        """Delete a document; it is no longer in force."""
        self._transport.unary(self._stub.DeletePolicy, policy_pb2.DeletePolicyRequest(name=name))

    def check(self, policy: policy_pb2.Policy) -> policy_pb2.CheckPolicyResponse:
        """Return the faults of a document, without putting it in force."""
        return self._transport.unary(self._stub.CheckPolicy, policy_pb2.CheckPolicyRequest(policy=policy))

    def rate(
        self, request_id: str, *, good: bool | None = None, score: float | None = None, judge: str = ""
    ) -> feedback_pb2.RecordFeedbackResponse:
        """Rate an answer by its request's id: a thumb, or a score from 0 to 1, a judge's if one is named.

        Raises:
            ValueError: not exactly one of `good` and `score` is given, or a judge without a score.
        """
        request = feedback_requests.record(request_id, good=good, score=score, judge=judge)
        return self._transport.unary(self._feedback.RecordFeedback, request)

    def feedback(self, *, model: str = "", days: int = 0) -> feedback_pb2.SummarizeFeedbackResponse:
        """Return the ratings of the last days (0: 90) by model and class of prompt."""
        request = feedback_pb2.SummarizeFeedbackRequest(model=model, days=days)
        return self._transport.unary(self._feedback.SummarizeFeedback, request)
