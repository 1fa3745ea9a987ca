"""Experiments between models and prompts, rollouts in steps, feature flags.

A decision asks `Assignment`, in memory; `ExposureLog` writes what fell where behind it; `ExperimentController` lets
results end experiments and move rollouts.
"""

from enginehouse.router.experiments._assignment import Assigned, Assignment, ExperimentSubject, Exposure
from enginehouse.router.experiments._controller import ExperimentController
from enginehouse.router.experiments._exposures import ExposureLog
from enginehouse.router.experiments._results import Results
from enginehouse.router.experiments._store import EXPERIMENTS_CHANNEL, ExperimentStore

__all__ = [
    "EXPERIMENTS_CHANNEL",
    "Assigned",
    "Assignment",
    "ExperimentController",
    "ExperimentStore",
    "ExperimentSubject",
    "Exposure",
    "ExposureLog",
    "Results",
]
