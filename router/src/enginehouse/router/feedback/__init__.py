"""Feedback on answers, and a bandit that learns from it which model to choose, within the bounds of policy."""

from enginehouse.router.feedback._bandit import BanditArm, pick_arm
from enginehouse.router.feedback._ratings import NO_RATINGS, SCORE_SCALE, Ratings, RatingsByClass
from enginehouse.router.feedback._store import FeedbackStore, RatedAnswer, Rating

__all__ = [
    "NO_RATINGS",
    "SCORE_SCALE",
    "BanditArm",
    "FeedbackStore",
    "RatedAnswer",
    "Rating",
    "Ratings",
    "RatingsByClass",
    "pick_arm",
]
