"""Experiments between models and prompts, rollouts in steps, feature flags.

A decision asks `Steering`, in memory; `ExposureLog` writes what fell where behind it; `SteeringController` lets results
end experiments and move rollouts.
"""

from enginehouse.router.experiments._controller import SteeringController
from enginehouse.router.experiments._exposures import ExposureLog
from enginehouse.router.experiments._results import Results
from enginehouse.router.experiments._servicers import ExperimentServicer, FlagServicer, RolloutServicer
from enginehouse.router.experiments._steering import Exposure, Steered, Steering, Subject
from enginehouse.router.experiments._store import EXPERIMENTS_CHANNEL, SteeringStore

__all__ = [
    "EXPERIMENTS_CHANNEL",
    "ExperimentServicer",
    "Exposure",
    "ExposureLog",
    "FlagServicer",
    "Results",
    "RolloutServicer",
    "Steered",
    "Steering",
    "SteeringController",
    "SteeringStore",
    "Subject",
]
