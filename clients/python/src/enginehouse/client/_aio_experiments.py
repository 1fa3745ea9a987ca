"""Experiments, rollouts and flags, for asyncio. Requests and answers are the contract's own messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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


class AsyncExperiments:
    """Who gets which model, and what comes of it; the key needs the scope `admin`, but for `enabled_flags`.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, channel: grpc.aio.Channel, unary: Callable[..., Awaitable[Any]]) -> None:
        self._experiments = experiments_pb2_grpc.ExperimentServiceStub(channel)
        self._rollouts = rollouts_pb2_grpc.RolloutServiceStub(channel)
        self._flags = flags_pb2_grpc.FlagServiceStub(channel)
        self._unary = unary

    async def create_experiment(self, experiment: experiments_pb2.Experiment) -> experiments_pb2.Experiment:
        """Starts an experiment."""
        request = experiments_pb2.CreateExperimentRequest(experiment=experiment)
        answer: experiments_pb2.CreateExperimentResponse = await self._unary(
            self._experiments.CreateExperiment, request
        )
        return answer.experiment

    async def get_experiment(self, experiment_id: str) -> experiments_pb2.GetExperimentResponse:
        """An experiment with its results up to now."""
        request = experiments_pb2.GetExperimentRequest(experiment_id=experiment_id)
        answer: experiments_pb2.GetExperimentResponse = await self._unary(self._experiments.GetExperiment, request)
        return answer

    async def list_experiments(self) -> AsyncIterator[experiments_pb2.Experiment]:
        """Every experiment, oldest first."""
        async for page in self._pages(
            self._experiments.ListExperiments, experiments_pb2.ListExperimentsRequest(page_size=1000)
        ):
            for one in page.experiments:
                yield one

    async def stop_experiment(self, experiment_id: str, *, winner: str = "") -> experiments_pb2.Experiment:
        """Ends an experiment; everybody gets the winner, or without one what they ask for."""
        request = experiments_pb2.StopExperimentRequest(experiment_id=experiment_id, winner=winner)
        answer: experiments_pb2.StopExperimentResponse = await self._unary(self._experiments.StopExperiment, request)
        return answer.experiment

    async def create_rollout(self, rollout: rollouts_pb2.Rollout) -> rollouts_pb2.Rollout:
        """Starts a rollout."""
        request = rollouts_pb2.CreateRolloutRequest(rollout=rollout)
        answer: rollouts_pb2.CreateRolloutResponse = await self._unary(self._rollouts.CreateRollout, request)
        return answer.rollout

    async def get_rollout(self, rollout_id: str) -> rollouts_pb2.GetRolloutResponse:
        """A rollout, and how both models do."""
        request = rollouts_pb2.GetRolloutRequest(rollout_id=rollout_id)
        answer: rollouts_pb2.GetRolloutResponse = await self._unary(self._rollouts.GetRollout, request)
        return answer

    async def list_rollouts(self) -> AsyncIterator[rollouts_pb2.Rollout]:
        """Every rollout, oldest first."""
        async for page in self._pages(self._rollouts.ListRollouts, rollouts_pb2.ListRolloutsRequest(page_size=1000)):
            for one in page.rollouts:
                yield one

    async def change_rollout(
        self, rollout_id: str, action: rollouts_pb2.RolloutAction.ValueType
    ) -> rollouts_pb2.Rollout:
        """Pauses, resumes, advances or rolls back; requests that run are not cut."""
        request = rollouts_pb2.ChangeRolloutRequest(rollout_id=rollout_id, action=action)
        answer: rollouts_pb2.ChangeRolloutResponse = await self._unary(self._rollouts.ChangeRollout, request)
        return answer.rollout

    async def set_flag(self, flag: flags_pb2.Flag) -> flags_pb2.Flag:
        """Makes a flag or replaces it."""
        answer: flags_pb2.SetFlagResponse = await self._unary(self._flags.SetFlag, flags_pb2.SetFlagRequest(flag=flag))
        return answer.flag

    async def list_flags(self) -> AsyncIterator[flags_pb2.Flag]:
        """Every flag, by name."""
        async for page in self._pages(self._flags.ListFlags, flags_pb2.ListFlagsRequest(page_size=1000)):
            for one in page.flags:
                yield one

    async def delete_flag(self, name: str) -> None:
        """Removes a flag: it is off for everybody."""
        await self._unary(self._flags.DeleteFlag, flags_pb2.DeleteFlagRequest(name=name))

    async def enabled_flags(self, names: Sequence[str] = ()) -> list[str]:
        """The flags that are on for the key's tenant, of those named or of all; any key may ask."""
        request = flags_pb2.EvaluateFlagsRequest(names=names)
        answer: flags_pb2.EvaluateFlagsResponse = await self._unary(self._flags.EvaluateFlags, request)
        return list(answer.enabled)

    async def _pages(self, method: Callable[..., Any], request: Any) -> AsyncIterator[Any]:
        while True:
            page = await self._unary(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token
