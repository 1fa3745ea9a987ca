"""The thin servicer of PolicyService."""

from __future__ import annotations

from typing import Any

from enginehouse.api.router.v1 import policy_pb2 as pb
from enginehouse.api.router.v1 import policy_pb2_grpc
from enginehouse.router.api.access import Access
from enginehouse.router.api.admin._authorized_call import authorized_call
from enginehouse.router.api.admin._policies import PolicyAdmin

_PREFIX = "/enginehouse.api.router.v1.PolicyService/"


class PolicyServicer(policy_pb2_grpc.PolicyServiceServicer):
    """Serves PolicyService. Every method raises LEDGER_UNAVAILABLE while PostgreSQL is away."""

    def __init__(self, *, access: Access, policies: PolicyAdmin) -> None:
        self._access = access
        self._policies = policies

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Any) -> pb.GetPolicyResponse:
        """Return a document."""
        with authorized_call(self._access, context, _PREFIX + "GetPolicy"):
            return await self._policies.get(request)

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Any) -> pb.ListPoliciesResponse:
        """List documents."""
        with authorized_call(self._access, context, _PREFIX + "ListPolicies"):
            return await self._policies.list_(request)

    async def SetPolicy(self, request: pb.SetPolicyRequest, context: Any) -> pb.SetPolicyResponse:
        """Put a document in force."""
        with authorized_call(self._access, context, _PREFIX + "SetPolicy") as caller:
            return await self._policies.set_(request, key_id=caller.key_id)

    async def DeletePolicy(self, request: pb.DeletePolicyRequest, context: Any) -> pb.DeletePolicyResponse:
        """Take a document out of force."""
        with authorized_call(self._access, context, _PREFIX + "DeletePolicy") as caller:
            return await self._policies.delete(request, key_id=caller.key_id)

    async def CheckPolicy(self, request: pb.CheckPolicyRequest, context: Any) -> pb.CheckPolicyResponse:
        """Return whether a document could be set."""
        with authorized_call(self._access, context, _PREFIX + "CheckPolicy"):
            return await self._policies.check(request.policy)
