"""Ratings of answers as the contract takes them."""

from __future__ import annotations

from enginehouse.api.router.v1 import feedback_pb2


def record(
    request_id: str, *, good: bool | None = None, score: float | None = None, judge: str = ""
) -> feedback_pb2.RecordFeedbackRequest:
    """The request to record one rating.

    Args:
        request_id: of the answer that is rated.
        good: a person's verdict, thumb up or down.
        score: how good the answer is, 0 to 1.
        judge: who found the score, if a program or a model did.

    Raises:
        ValueError: not exactly one of `good` and `score` is given, or a judge without a score.
    """
    if (good is None) == (score is None):
        raise ValueError("give exactly one of good and score")
    if good is not None:
        if judge:
            raise ValueError("a judge gives a score, not a thumb")
        thumb = feedback_pb2.THUMB_UP if good else feedback_pb2.THUMB_DOWN
        return feedback_pb2.RecordFeedbackRequest(request_id=request_id, thumb=thumb)
    if judge:
        result = feedback_pb2.JudgeResult(judge=judge, score=score or 0.0)
        return feedback_pb2.RecordFeedbackRequest(request_id=request_id, judge=result)
    return feedback_pb2.RecordFeedbackRequest(request_id=request_id, score=score or 0.0)
