"""ExperimentService, RolloutService and FlagService."""

from enginehouse.router.api.experiments._servicers import ExperimentServicer, FlagServicer, RolloutServicer

__all__ = ["ExperimentServicer", "FlagServicer", "RolloutServicer"]
