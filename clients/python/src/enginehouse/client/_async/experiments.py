"""Experiments, rollouts and flags. Requests and responses are the contract's own messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from enginehouse.api.router.v1 import (
    experiments_pb2,
    experiments_pb2_grpc,
    flags_pb2,
    flags_pb2_grpc,
    rollouts_pb2,
    rollouts_pb2_grpc,
)
from enginehouse.client._async.transport import AsyncTransport


class AsyncExperiments:
    """Experiments, rollouts and flags; the key needs the scope `admin`, except for `enabled_flags`.

    Lists are fetched page by page as they are iterated. Every method raises EnginehouseError.
    """

    def __init__(self, *, transport: AsyncTransport) -> None:
        self._transport = transport
        self._experiments = experiments_pb2_grpc.ExperimentServiceStub(transport.channel)
        self._rollouts = rollouts_pb2_grpc.RolloutServiceStub(transport.channel)
        self._flags = flags_pb2_grpc.FlagServiceStub(transport.channel)

    async def create_experiment(self, experiment: experiments_pb2.Experiment) -> experiments_pb2.Experiment:
        """Start an experiment."""
        request = experiments_pb2.CreateExperimentRequest(experiment=experiment)
        response = await self._transport.unary(self._experiments.CreateExperiment, request)
        return response.experiment

    async def get_experiment(self, experiment_id: str) -> experiments_pb2.GetExperimentResponse:
        """Return an experiment with its results so far."""
        request = experiments_pb2.GetExperimentRequest(experiment_id=experiment_id)
        return await self._transport.unary(self._experiments.GetExperiment, request)

    async def list_experiments(self) -> AsyncIterator[experiments_pb2.Experiment]:
        """List all experiments, oldest first."""
        request = experiments_pb2.ListExperimentsRequest(page_size=1000)
        async for page in self._transport.pages(self._experiments.ListExperiments, request):
            for experiment in page.experiments:
                yield experiment

    async def stop_experiment(self, experiment_id: str, *, winner: str = "") -> experiments_pb2.Experiment:
        """End an experiment. All requests get the winner; without one, the model that they ask for."""
        request = experiments_pb2.StopExperimentRequest(experiment_id=experiment_id, winner=winner)
        response = await self._transport.unary(self._experiments.StopExperiment, request)
        return response.experiment

    async def create_rollout(self, rollout: rollouts_pb2.Rollout) -> rollouts_pb2.Rollout:
        """Start a rollout."""
        request = rollouts_pb2.CreateRolloutRequest(rollout=rollout)
        response = await self._transport.unary(self._rollouts.CreateRollout, request)
        return response.rollout

    async def get_rollout(self, rollout_id: str) -> rollouts_pb2.GetRolloutResponse:
        """Return a rollout with the health of both models."""
        request = rollouts_pb2.GetRolloutRequest(rollout_id=rollout_id)
        return await self._transport.unary(self._rollouts.GetRollout, request)

    async def list_rollouts(self) -> AsyncIterator[rollouts_pb2.Rollout]:
        """List all rollouts, oldest first."""
        request = rollouts_pb2.ListRolloutsRequest(page_size=1000)
        async for page in self._transport.pages(self._rollouts.ListRollouts, request):
            for rollout in page.rollouts:
                yield rollout

    async def change_rollout(
        self, rollout_id: str, action: rollouts_pb2.RolloutAction.ValueType
    ) -> rollouts_pb2.Rollout:
        """Pause, resume, advance or roll back a rollout. Running requests are not cut."""
        request = rollouts_pb2.ChangeRolloutRequest(rollout_id=rollout_id, action=action)
        response = await self._transport.unary(self._rollouts.ChangeRollout, request)
        return response.rollout

    async def set_flag(self, flag: flags_pb2.Flag) -> flags_pb2.Flag:
        """Create or replace a flag."""
        response = await self._transport.unary(self._flags.SetFlag, flags_pb2.SetFlagRequest(flag=flag))
        return response.flag

    async def list_flags(self) -> AsyncIterator[flags_pb2.Flag]:
        """List all flags, by name."""
        async for page in self._transport.pages(self._flags.ListFlags, flags_pb2.ListFlagsRequest(page_size=1000)):
            for flag in page.flags:
                yield flag

    async def delete_flag(self, name: str) -> None:
        """Delete a flag; it is off for everybody."""
        await self._transport.unary(self._flags.DeleteFlag, flags_pb2.DeleteFlagRequest(name=name))

    async def enabled_flags(self, names: Sequence[str] = ()) -> list[str]:
        """Return the flags that are on for the key's tenant, of those named or of all. Any key may ask."""
        response = await self._transport.unary(self._flags.EvaluateFlags, flags_pb2.EvaluateFlagsRequest(names=names))
        return list(response.enabled)
