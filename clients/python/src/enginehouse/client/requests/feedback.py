"""Ratings of answers, as the contract's messages."""

from __future__ import annotations

from enginehouse.api.router.v1 import feedback_pb2


def record(
    request_id: str, *, good: bool | None = None, score: float | None = None, judge: str = ""
) -> feedback_pb2.RecordFeedbackRequest:
    """Return the request to record one rating.

    Args:
        request_id: the id of the rated answer's request.
        good: a person's verdict, thumb up or down.
        score: the quality of the answer, 0 to 1.
        judge: the program or model that gave the score, if one did.

    Raises:
        ValueError: not exactly one of `good` and `score` is given, or a judge without a score.
    """
    if (good is None) == (score is None):
        raise ValueError("give exactly one of good and score")
    if good is not None:
        if judge:
            raise ValueError("judge cannot be combined with good: a judge gives a score")
        thumb = feedback_pb2.THUMB_UP if good else feedback_pb2.THUMB_DOWN
        return feedback_pb2.RecordFeedbackRequest(request_id=request_id, thumb=thumb)
    if judge:
        result = feedback_pb2.JudgeResult(judge=judge, score=score or 0.0)
        return feedback_pb2.RecordFeedbackRequest(request_id=request_id, judge=result)
    return feedback_pb2.RecordFeedbackRequest(request_id=request_id, score=score or 0.0)
