"""Feedback on answers, and learning from it which model to choose, within the bounds of policy."""

from enginehouse.router.feedback._bandit import BanditArm, pick_arm
from enginehouse.router.feedback._ratings import NO_RATINGS, ONE, Ratings, RatingsByClass
from enginehouse.router.feedback._store import Answered, FeedbackStore, Rating

__all__ = [
    "NO_RATINGS",
    "ONE",
    "Answered",
    "BanditArm",
    "FeedbackStore",
    "Rating",
    "Ratings",
    "RatingsByClass",
    "pick_arm",
]
