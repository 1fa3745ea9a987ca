"""Experiments, rollouts and flags, synchronously. Requests and answers are the contract's own messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from enginehouse.api.router.v1 import (
    experiments_pb2,
    experiments_pb2_grpc,
    flags_pb2,
    flags_pb2_grpc,
    rollouts_pb2,
    rollouts_pb2_grpc,
)


class Experiments:
    """Who gets which model, and what comes of it; the key needs the scope `admin`, but for `enabled_flags`.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, channel: grpc.Channel, unary: Callable[..., Any]) -> None:
        self._experiments = experiments_pb2_grpc.ExperimentServiceStub(channel)
        self._rollouts = rollouts_pb2_grpc.RolloutServiceStub(channel)
        self._flags = flags_pb2_grpc.FlagServiceStub(channel)
        self._unary = unary

    def create_experiment(self, experiment: experiments_pb2.Experiment) -> experiments_pb2.Experiment:
        """Starts an experiment."""
        request = experiments_pb2.CreateExperimentRequest(experiment=experiment)
        answer: experiments_pb2.CreateExperimentResponse = self._unary(self._experiments.CreateExperiment, request)
        return answer.experiment

    def get_experiment(self, experiment_id: str) -> experiments_pb2.GetExperimentResponse:
        """An experiment with its results up to now."""
        request = experiments_pb2.GetExperimentRequest(experiment_id=experiment_id)
        answer: experiments_pb2.GetExperimentResponse = self._unary(self._experiments.GetExperiment, request)
        return answer

    def list_experiments(self) -> Iterator[experiments_pb2.Experiment]:
        """Every experiment, oldest first."""
        for page in self._pages(
            self._experiments.ListExperiments, experiments_pb2.ListExperimentsRequest(page_size=1000)
        ):
            yield from page.experiments

    def stop_experiment(self, experiment_id: str, *, winner: str = "") -> experiments_pb2.Experiment:
        """Ends an experiment; everybody gets the winner, or without one what they ask for."""
        request = experiments_pb2.StopExperimentRequest(experiment_id=experiment_id, winner=winner)
        answer: experiments_pb2.StopExperimentResponse = self._unary(self._experiments.StopExperiment, request)
        return answer.experiment

    def create_rollout(self, rollout: rollouts_pb2.Rollout) -> rollouts_pb2.Rollout:
        """Starts a rollout."""
        request = rollouts_pb2.CreateRolloutRequest(rollout=rollout)
        answer: rollouts_pb2.CreateRolloutResponse = self._unary(self._rollouts.CreateRollout, request)
        return answer.rollout

    def get_rollout(self, rollout_id: str) -> rollouts_pb2.GetRolloutResponse:
        """A rollout, and how both models do."""
        request = rollouts_pb2.GetRolloutRequest(rollout_id=rollout_id)
        answer: rollouts_pb2.GetRolloutResponse = self._unary(self._rollouts.GetRollout, request)
        return answer

    def list_rollouts(self) -> Iterator[rollouts_pb2.Rollout]:
        """Every rollout, oldest first."""
        for page in self._pages(self._rollouts.ListRollouts, rollouts_pb2.ListRolloutsRequest(page_size=1000)):
            yield from page.rollouts

    def change_rollout(self, rollout_id: str, action: rollouts_pb2.RolloutAction.ValueType) -> rollouts_pb2.Rollout:
        """Pauses, resumes, advances or rolls back; requests that run are not cut."""
        request = rollouts_pb2.ChangeRolloutRequest(rollout_id=rollout_id, action=action)
        answer: rollouts_pb2.ChangeRolloutResponse = self._unary(self._rollouts.ChangeRollout, request)
        return answer.rollout

    def set_flag(self, flag: flags_pb2.Flag) -> flags_pb2.Flag:
        """Makes a flag or replaces it."""
        answer: flags_pb2.SetFlagResponse = self._unary(self._flags.SetFlag, flags_pb2.SetFlagRequest(flag=flag))
        return answer.flag

    def list_flags(self) -> Iterator[flags_pb2.Flag]:
        """Every flag, by name."""
        for page in self._pages(self._flags.ListFlags, flags_pb2.ListFlagsRequest(page_size=1000)):
            yield from page.flags

    def delete_flag(self, name: str) -> None:
        """Removes a flag: it is off for everybody."""
        self._unary(self._flags.DeleteFlag, flags_pb2.DeleteFlagRequest(name=name))

    def enabled_flags(self, names: Sequence[str] = ()) -> list[str]:
        """The flags that are on for the key's tenant, of those named or of all; any key may ask."""
        request = flags_pb2.EvaluateFlagsRequest(names=names)
        answer: flags_pb2.EvaluateFlagsResponse = self._unary(self._flags.EvaluateFlags, request)
        return list(answer.enabled)

    def _pages(self, method: Callable[..., Any], request: Any) -> Iterator[Any]:
        while True:
            page = self._unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
