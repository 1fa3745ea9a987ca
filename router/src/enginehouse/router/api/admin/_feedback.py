"""FeedbackService: ratings of answers, recorded and summed."""

from __future__ import annotations

import math
import re
from typing import Any

from enginehouse.api.router.v1 import feedback_pb2 as pb
from enginehouse.api.router.v1 import feedback_pb2_grpc
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.validation import invalid
from enginehouse.router.api.access import Access
from enginehouse.router.api.admin._authorized_call import authorized_call, unavailable_without_database
from enginehouse.router.clock import Clock
from enginehouse.router.feedback import SCORE_SCALE, FeedbackStore, Rating

_PREFIX = "/enginehouse.api.router.v1.FeedbackService/"
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch
_JUDGE = re.compile(r"[A-Za-z0-9._:/-]{1,64}").fullmatch
_MS_A_DAY = 86_400_000
_DAYS = 90
_MAX_DAYS = 3650


class FeedbackServicer(feedback_pb2_grpc.FeedbackServiceServicer):
    """Serves FeedbackService. Every method raises LEDGER_UNAVAILABLE while PostgreSQL is away."""

    def __init__(self, *, access: Access, store: FeedbackStore, clock: Clock) -> None:
        self._access = access
        self._store = store
        self._clock = clock

    async def RecordFeedback(self, request: pb.RecordFeedbackRequest, context: Any) -> pb.RecordFeedbackResponse:
        """Record a rating of an answer to the caller's own tenant."""
        caller = self._access.of(context, method=_PREFIX + "RecordFeedback")
        if not caller.everything and "inference" not in caller.scopes:
            raise ServiceError(Reason.SCOPE_DENIED, "RecordFeedback needs a key with the scope 'inference'")
        if not _REQUEST_ID(request.request_id):
            raise invalid(
                "request_id",
                f"{request.request_id[:64]!r} must be the id that the answer's header x-enginehouse-request-id gave",
            )
        source, score = _rating(request)
        with unavailable_without_database():
            answered = await self._store.last_answer(tenant_id=caller.tenant_id, request_id=request.request_id)
            if answered is None:
                raise ServiceError(
                    Reason.NOT_FOUND,
                    f"no settled request {request.request_id!r} of your tenant; a request can be rated once its usage "
                    "is settled, moments after its answer",
                )
            replaced = await self._store.record(
                Rating(
                    tenant_id=caller.tenant_id,
                    request_id=request.request_id,
                    source=source,
                    score_millionths=round(score * SCORE_SCALE),
                    key_id=caller.key_id,
                    recorded_at_ms=self._clock(),
                ),
                answered,
            )
        return pb.RecordFeedbackResponse(model=answered.model, prompt_class=answered.prompt_class, replaced=replaced)

    async def SummarizeFeedback(
        self, request: pb.SummarizeFeedbackRequest, context: Any
    ) -> pb.SummarizeFeedbackResponse:
        """Sums ratings."""
        with authorized_call(self._access, context, _PREFIX + "SummarizeFeedback"):
            if not 0 <= request.days <= _MAX_DAYS:
                raise invalid("days", f"{request.days} must be from 0 to {_MAX_DAYS}")
            today = self._clock() // _MS_A_DAY
            found = await self._store.totals(since_day=today - (request.days or _DAYS) + 1, model=request.model)
        return pb.SummarizeFeedbackResponse(
            summaries=[
                pb.FeedbackSummary(
                    model=rating.model,
                    prompt_class=rating.prompt_class,
                    ratings=rating.ratings,
                    mean_score=rating.score_millionths / SCORE_SCALE / rating.ratings,
                )
                for rating in found
            ]
        )


def _rating(request: pb.RecordFeedbackRequest) -> tuple[str, float]:
    """The source of a rating, and its score."""
    given = request.WhichOneof("rating")
    if given == "thumb":
        if request.thumb not in (pb.THUMB_UP, pb.THUMB_DOWN):
            raise invalid("thumb", f"{request.thumb} must be THUMB_UP or THUMB_DOWN")
        return "thumb", 1.0 if request.thumb == pb.THUMB_UP else 0.0
    if given == "score":
        return "score", _score("score", request.score)
    if given == "judge":
        if not _JUDGE(request.judge.judge):
            raise invalid("judge.judge", f"{request.judge.judge[:64]!r} must be who judged, 1-64 of [A-Za-z0-9._:/-]")
        return f"judge:{request.judge.judge}", _score("judge.score", request.judge.score)
    raise invalid("rating", "is missing; give one of thumb, score and judge")


def _score(field: str, score: float) -> float:
    if not (math.isfinite(score) and 0 <= score <= 1):
        raise invalid(field, f"{score} must be from 0 to 1")
    return score
