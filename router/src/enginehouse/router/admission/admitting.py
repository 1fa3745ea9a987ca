"""A request on its way through admission, and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from enginehouse.router.admission.caller_context import CallerContext
from enginehouse.router.fleet.fleet import Endpoint
from enginehouse.router.limits import Quota
from enginehouse.router.request import InferenceRequest


@dataclasses.dataclass(slots=True)
class Check:
    """A request to be admitted: its method, its headers by lower-case name, and its body as it was sent."""

    method: str
    headers: Mapping[bytes, bytes]
    body: bytes


# A tuple: one is made for each request, and a frozen dataclass takes longer.
class Admitting(NamedTuple):
    """A check that is being admitted.

    Attributes:
        check: what Envoy sent.
        caller: whose it is.
        request: what it asks for; None for a method that no price applies to.
        grant_id: the id of the grant that is made for it.
        request_id: the caller's own id for it, or a new one.
        now_ms: when it came, in milliseconds since 1970 UTC.
    """

    check: Check
    caller: CallerContext
    request: InferenceRequest | None
    grant_id: str
    request_id: str
    now_ms: int


@dataclasses.dataclass(slots=True)
class Admitted:
    """An admitted request. `token` is empty where no grant is needed, `model` where it is not known yet who answers.

    Attributes:
        cache: the result of the cache lookup; empty where there was none.
        replay_at: the replay endpoint, "ip:port", where the answer is in the cache already.
        fallbacks: the models that may answer instead, in order, each with how much more it may cost:
            "large;difference_nanos=1200, huge;difference_nanos=4100".
        budget_wait_ms: how long it waited for a budget of which enough was in flight, in milliseconds.
    """

    request_id: str
    token: str = ""
    endpoints: Sequence[Endpoint] = ()
    model: str = ""
    quota: Quota | None = None
    cache: str = ""
    replay_at: str = ""
    fallbacks: str = ""
    budget_wait_ms: int = 0
