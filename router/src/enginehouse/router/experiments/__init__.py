"""Experiments between models and prompts, rollouts in steps, feature flags.

A decision asks `Assignment`, in memory. `ExposureLog` writes the exposures after it. `ExperimentController` ends
experiments and moves rollouts by their results.
"""

from enginehouse.router.experiments._assignment import ArmExposure, Assigned, Assignment, ExperimentSubject
from enginehouse.router.experiments._controller import ExperimentController
from enginehouse.router.experiments._exposures import ExposureLog
from enginehouse.router.experiments._results import ExperimentResults
from enginehouse.router.experiments._store import EXPERIMENTS_CHANNEL, ExperimentStore

__all__ = [
    "EXPERIMENTS_CHANNEL",
    "ArmExposure",
    "Assigned",
    "Assignment",
    "ExperimentController",
    "ExperimentResults",
    "ExperimentStore",
    "ExperimentSubject",
    "ExposureLog",
]
