"""ExperimentService, RolloutService and FlagService: thin, over the store and the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from enginehouse.api.router.v1 import (
    experiments_pb2,
    experiments_pb2_grpc,
    flags_pb2,
    flags_pb2_grpc,
    rollouts_pb2,
    rollouts_pb2_grpc,
)
from enginehouse.kit.catalog import Catalog
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.api.admin import Access, authorized_call, ordinal_start, page_size, page_start, page_token
from enginehouse.router.api.experiments._messages import (
    experiment_message,
    flag_message,
    read_experiment,
    read_flag,
    read_rollout,
    result_message,
    rollout_message,
    rollout_result,
)
from enginehouse.router.clock import Clock
from enginehouse.router.experiments._arms import ExperimentState, Rollout, RolloutState
from enginehouse.router.experiments._assignment import Assignment, ExperimentSubject
from enginehouse.router.experiments._results import NO_RESULTS, ExperimentResults
from enginehouse.router.experiments._store import ExperimentStore, Overlap
from enginehouse.router.experiments._verdicts import advance, compare, roll_back
from enginehouse.router.ids import new_id

Apply: TypeAlias = Callable[[], Awaitable[None]]
"""Makes what was written hold on this router before the answer says that it does."""

_PACKAGE = "/enginehouse.api.router.v1."


class ExperimentServicer(experiments_pb2_grpc.ExperimentServiceServicer):
    """Serves ExperimentService."""

    def __init__(
        self,
        *,
        access: Access,
        store: ExperimentStore,
        apply: Apply,
        results: ExperimentResults,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._access = access
        self._store = store
        self._apply = apply
        self._results = results
        self._catalog = catalog
        self._clock = clock

    async def CreateExperiment(self, request: Any, context: Any) -> experiments_pb2.CreateExperimentResponse:
        """Start an experiment."""
        with authorized_call(self._access, context, _PACKAGE + "ExperimentService/CreateExperiment"):
            experiment = read_experiment(
                request.experiment, catalog=self._catalog, experiment_id=new_id("exp"), now_ms=self._clock()
            )
            try:
                made = await self._store.add_experiment(experiment)
            except Overlap as rival:
                raise ServiceError(
                    Reason.FAILED_PRECONDITION,
                    f"the experiment {rival} runs under that name or applies to {experiment.asked_model!r} for the "
                    "same tenants; stop it first",
                    metadata={"experiment_id": str(rival)},
                ) from None
            await self._apply()
        return experiments_pb2.CreateExperimentResponse(experiment=experiment_message(made))

    async def GetExperiment(self, request: Any, context: Any) -> experiments_pb2.GetExperimentResponse:
        """One experiment with its results."""
        with authorized_call(self._access, context, _PACKAGE + "ExperimentService/GetExperiment"):
            experiment = await self._store.get_experiment(request.experiment_id)
            if experiment is None:
                raise _missing("experiment", request.experiment_id)
            results = await self._results.of(experiment.experiment_id)
        differences = compare(experiment, results)
        return experiments_pb2.GetExperimentResponse(
            experiment=experiment_message(experiment),
            results=[
                result_message(arm.name, results.get(arm.name, NO_RESULTS), differences.get(arm.name))
                for arm in experiment.arms
            ],
        )

    async def ListExperiments(self, request: Any, context: Any) -> experiments_pb2.ListExperimentsResponse:
        """List experiments."""
        with authorized_call(self._access, context, _PACKAGE + "ExperimentService/ListExperiments"):
            size = page_size(request.page_size)
            after = ordinal_start(request.page_token, "experiments")
            found = await self._store.list_experiments(after=after, count=size + 1)
        return experiments_pb2.ListExperimentsResponse(
            experiments=[experiment_message(experiment) for experiment in found[:size]],
            next_page_token=page_token("experiments", str(found[size - 1].ordinal)) if len(found) > size else "",
        )

    async def StopExperiment(self, request: Any, context: Any) -> experiments_pb2.StopExperimentResponse:
        """End an experiment."""
        with authorized_call(self._access, context, _PACKAGE + "ExperimentService/StopExperiment"):
            experiment = await self._store.get_experiment(request.experiment_id)
            if experiment is None:
                raise _missing("experiment", request.experiment_id)
            names = [arm.name for arm in experiment.arms]
            if request.winner and request.winner not in names:
                raise ServiceError(
                    Reason.INVALID_REQUEST,
                    f"winner: {request.winner[:64]!r} is not an arm; name one of {', '.join(names)}, or none",
                )
            ended = await self._store.end_experiment(
                experiment.experiment_id,
                state=ExperimentState.STOPPED,
                winner=request.winner,
                reason="stopped by an administrator",
                now_ms=self._clock(),
            )
            if ended is None:
                raise ServiceError(
                    Reason.FAILED_PRECONDITION,
                    f"the experiment {experiment.experiment_id} has ended already: {experiment.state}",
                )
            await self._apply()
        return experiments_pb2.StopExperimentResponse(experiment=experiment_message(ended))


class RolloutServicer(rollouts_pb2_grpc.RolloutServiceServicer):
    """Serves RolloutService."""

    def __init__(
        self,
        *,
        access: Access,
        store: ExperimentStore,
        apply: Apply,
        results: ExperimentResults,
        catalog: Catalog,
        clock: Clock,
    ) -> None:
        self._access = access
        self._store = store
        self._apply = apply
        self._results = results
        self._catalog = catalog
        self._clock = clock

    async def CreateRollout(self, request: Any, context: Any) -> rollouts_pb2.CreateRolloutResponse:
        """Start a rollout."""
        with authorized_call(self._access, context, _PACKAGE + "RolloutService/CreateRollout"):
            rollout = read_rollout(
                request.rollout, catalog=self._catalog, rollout_id=new_id("rol"), now_ms=self._clock()
            )
            try:
                made = await self._store.add_rollout(rollout)
            except Overlap as rival:
                raise ServiceError(
                    Reason.FAILED_PRECONDITION,
                    f"the rollout {rival} of {rollout.asked_model!r} is under way; let it end or roll it back first",
                    metadata={"rollout_id": str(rival)},
                ) from None
            await self._apply()
        return rollouts_pb2.CreateRolloutResponse(rollout=rollout_message(made))

    async def GetRollout(self, request: Any, context: Any) -> rollouts_pb2.GetRolloutResponse:
        """One rollout and how it goes."""
        with authorized_call(self._access, context, _PACKAGE + "RolloutService/GetRollout"):
            rollout = await self._rollout(request.rollout_id)
            since = rollout.step_started_at_ms if rollout.state.unfinished else rollout.created_at_ms
            results = await self._results.of(rollout.rollout_id, since_ms=since, by_request=True)
        return rollouts_pb2.GetRolloutResponse(
            rollout=rollout_message(rollout),
            results=[
                rollout_result(model, results.get(model, NO_RESULTS))
                for model in (rollout.from_model, rollout.to_model)
            ],
        )

    async def ListRollouts(self, request: Any, context: Any) -> rollouts_pb2.ListRolloutsResponse:
        """List rollouts."""
        with authorized_call(self._access, context, _PACKAGE + "RolloutService/ListRollouts"):
            size = page_size(request.page_size)
            after = ordinal_start(request.page_token, "rollouts")
            found = await self._store.list_rollouts(after=after, count=size + 1)
        return rollouts_pb2.ListRolloutsResponse(
            rollouts=[rollout_message(rollout) for rollout in found[:size]],
            next_page_token=page_token("rollouts", str(found[size - 1].ordinal)) if len(found) > size else "",
        )

    async def ChangeRollout(self, request: Any, context: Any) -> rollouts_pb2.ChangeRolloutResponse:
        """Pause, resume, advance or roll back."""
        with authorized_call(self._access, context, _PACKAGE + "RolloutService/ChangeRollout"):
            rollout = await self._rollout(request.rollout_id)
            after = self._changed(rollout, request.action)
            written = await self._store.move_rollout(rollout, after)
            if written is None:
                raise ServiceError(
                    Reason.FAILED_PRECONDITION,
                    f"the rollout {rollout.rollout_id} moved meanwhile; look at it again with GetRollout",
                )
            await self._apply()
        return rollouts_pb2.ChangeRolloutResponse(rollout=rollout_message(written))

    def _changed(self, rollout: Rollout, action: int) -> Rollout:
        now, by = self._clock(), "by an administrator"
        if action not in rollouts_pb2.RolloutAction.values() or not action:
            raise ServiceError(Reason.INVALID_REQUEST, f"action: {action} must be PAUSE, RESUME, ADVANCE or ROLL_BACK")
        if not rollout.state.unfinished:
            raise ServiceError(
                Reason.FAILED_PRECONDITION,
                f"the rollout {rollout.rollout_id} is {rollout.state}; start another to move again",
            )
        if action == rollouts_pb2.ROLLOUT_ACTION_ROLL_BACK:
            return roll_back(rollout, f"rolled back {by}", now_ms=now)
        if action == rollouts_pb2.ROLLOUT_ACTION_ADVANCE:
            return advance(rollout, f"advanced {by}", now_ms=now)
        pause = action == rollouts_pb2.ROLLOUT_ACTION_PAUSE
        state = RolloutState.PAUSED if pause else RolloutState.ROLLING
        return dataclasses.replace(rollout, state=state, reason=f"{'paused' if pause else 'resumed'} {by}")

    async def _rollout(self, rollout_id: str) -> Rollout:
        rollout = await self._store.get_rollout(rollout_id)
        if rollout is None:
            raise _missing("rollout", rollout_id)
        return rollout


class FlagServicer(flags_pb2_grpc.FlagServiceServicer):
    """Serves FlagService."""

    def __init__(
        self, *, access: Access, store: ExperimentStore, apply: Apply, assignment: Assignment, clock: Clock
    ) -> None:
        self._access = access
        self._store = store
        self._apply = apply
        self._assignment = assignment = assignment = assignment = assignment = assignment = assignment = assignment
        self._clock = clock

    async def SetFlag(self, request: Any, context: Any) -> flags_pb2.SetFlagResponse:
        """Create or replace a flag."""
        with authorized_call(self._access, context, _PACKAGE + "FlagService/SetFlag"):
            flag = read_flag(request.flag, now_ms=self._clock())
            await self._store.put_flag(flag)
            await self._apply()
        return flags_pb2.SetFlagResponse(flag=flag_message(flag))

    async def ListFlags(self, request: Any, context: Any) -> flags_pb2.ListFlagsResponse:
        """List flags."""
        with authorized_call(self._access, context, _PACKAGE + "FlagService/ListFlags"):
            size = page_size(request.page_size)
            found = await self._store.list_flags(after=page_start(request.page_token, "flags"), count=size + 1)
        return flags_pb2.ListFlagsResponse(
            flags=[flag_message(flag) for flag in found[:size]],
            next_page_token=page_token("flags", found[size - 1].name) if len(found) > size else "",
        )

    async def DeleteFlag(self, request: Any, context: Any) -> flags_pb2.DeleteFlagResponse:
        """Remove a flag."""
        with authorized_call(self._access, context, _PACKAGE + "FlagService/DeleteFlag"):
            if not await self._store.delete_flag(request.name):
                raise _missing("flag", request.name)
            await self._apply()
        return flags_pb2.DeleteFlagResponse()

    async def EvaluateFlags(self, request: Any, context: Any) -> flags_pb2.EvaluateFlagsResponse:
        """Which flags are on for the caller."""
        principal = self._access.principal(context, method=_PACKAGE + "FlagService/EvaluateFlags")
        subject = ExperimentSubject(principal.tenant_id, principal.key_id, principal.user_id, "")
        return flags_pb2.EvaluateFlagsResponse(enabled=self._assignment.flags(subject, request.names))


def _missing(kind: str, name: str) -> ServiceError:
    return ServiceError(Reason.NOT_FOUND, f"no {kind} {name[:64]!r}; list them first")
