"""Experiments between models and prompts, rollouts in steps, feature flags.

A decision asks `Assignment`, in memory; `ExposureLog` writes what fell where behind it; `SteeringController` lets
results end experiments and move rollouts.
"""

from enginehouse.router.experiments._assignment import Assignment, Exposure, Steered, Subject
from enginehouse.router.experiments._controller import SteeringController
from enginehouse.router.experiments._exposures import ExposureLog
from enginehouse.router.experiments._results import Results
from enginehouse.router.experiments._store import EXPERIMENTS_CHANNEL, SteeringStore

__all__ = [
    "EXPERIMENTS_CHANNEL",
    "Assignment",
    "Exposure",
    "ExposureLog",
    "Results",
    "Steered",
    "SteeringController",
    "SteeringStore",
    "Subject",
]
