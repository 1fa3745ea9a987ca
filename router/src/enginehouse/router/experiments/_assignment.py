"""Assignment of a request to arms and rollouts, before its model is chosen.

It works in memory, with no I/O, and takes a microsecond if nothing runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from enginehouse.kit.prompt_bound import MESSAGE_OVERHEAD
from enginehouse.router.experiments._arms import Experiment, ExperimentState, Flag, Rollout, Unit
from enginehouse.router.request import InferenceRequest, Task


@dataclasses.dataclass(frozen=True, slots=True)
class ArmExposure:
    """A request's arm of an experiment, or its model of a rollout's two."""

    subject_id: str
    arm: str
    unit: str


@dataclasses.dataclass(frozen=True, slots=True)
class Assigned:
    """A request after its assignment.

    Attributes:
        request: the request with the assigned model.
        system_prompt: the message that the engine puts before the conversation; usually empty.
        exposures: the exposures to log.
        tenant_id: the tenant of the request.
    """

    request: InferenceRequest
    system_prompt: str
    exposures: Sequence[ArmExposure]
    tenant_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class ExperimentSubject:
    """The caller of a request, in ids."""

    tenant_id: str
    key_id: str
    user_id: str
    request_id: str

    @property
    def caller(self) -> str:
        """The unit for the caller: the user if one is named (users belong to their tenant), else the key."""
        return f"{self.tenant_id}/{self.user_id}" if self.user_id else self.key_id


class Assignment:
    """The experiments and rollouts that run now, by the requested model, and the flags."""

    def __init__(self) -> None:
        self._experiments: dict[str, tuple[Experiment, ...]] = {}
        self._rollouts: dict[str, Rollout] = {}
        self._flags: dict[str, Flag] = {}

    def replace(self, *, experiments: Iterable[Experiment], rollouts: Iterable[Rollout], flags: Iterable[Flag]) -> None:
        """Replace everything. If several have one name, the newest counts."""
        by_model: dict[str, list[Experiment]] = {}
        for experiment in sorted(experiments, key=lambda experiment: -experiment.ordinal):
            if experiment.active:
                by_model.setdefault(experiment.asked_model, []).append(experiment)
        self._experiments = {name: tuple(found) for name, found in by_model.items()}
        in_order = sorted(rollouts, key=lambda rollout: rollout.ordinal)
        self._rollouts = {rollout.asked_model: rollout for rollout in in_order}
        self._flags = {flag.name: flag for flag in flags}

    @property
    def idle(self) -> bool:
        """True if no experiment and no rollout runs."""
        return not self._experiments and not self._rollouts

    def flags(self, subject: ExperimentSubject, names: Iterable[str] = ()) -> list[str]:
        """Return the names of the flags that are on, sorted."""
        wanted = set(names)
        return sorted(
            flag.name
            for flag in self._flags.values()
            if (not wanted or flag.name in wanted)
            and flag.on_for(tenant_id=subject.tenant_id, user_id=subject.user_id, unit=subject.caller)
        )

    def assign(
        self, request: InferenceRequest, subject: ExperimentSubject, *, may_use: Callable[[str], bool]
    ) -> Assigned | None:
        """Assign the request. Returns None if nothing applies to it.

        Args:
            request: the request.
            subject: its caller.
            may_use: returns whether the caller may use a model. A caller who may not use every arm's model is left out
                of the experiment; otherwise the arms would hold different kinds of callers.
        """
        if self.idle:
            return None
        exposures: list[ArmExposure] = []
        system_prompt = ""
        model = request.model
        experiment = self._experiment(request, subject, may_use)
        if experiment is not None:
            unit = _unit(experiment.unit, subject)
            arm = experiment.arm_of(unit)
            model = arm.model or model
            system_prompt = arm.system_prompt
            if experiment.state is ExperimentState.RUNNING:
                exposures.append(ArmExposure(experiment.experiment_id, arm.name, unit))
        rollout = self._rollouts.get(model)
        if rollout is not None and request.task != Task.NONE:
            unit = subject.caller
            to = rollout.model_of(unit)
            if may_use(to):
                model = to
                if rollout.state.unfinished:
                    exposures.append(ArmExposure(rollout.rollout_id, to, unit))
        changed = model != request.model or bool(system_prompt)
        if not changed and not exposures:
            return None
        if changed:
            more = len(system_prompt.encode()) + 2 * MESSAGE_OVERHEAD if system_prompt else 0
            request = dataclasses.replace(request, model=model, input_bytes=request.input_bytes + more)
        return Assigned(request, system_prompt, exposures, subject.tenant_id)

    def _experiment(
        self, request: InferenceRequest, subject: ExperimentSubject, may_use: Callable[[str], bool]
    ) -> Experiment | None:
        for experiment in self._experiments.get(request.model, ()):
            if experiment.tenant_id not in ("", subject.tenant_id):
                continue
            if experiment.chats_only and "chat" not in request.capabilities:
                continue
            if all(not arm.model or arm.model == "auto" or may_use(arm.model) for arm in experiment.arms):
                return experiment
        return None


def _unit(kind: Unit, subject: ExperimentSubject) -> str:
    if kind is Unit.REQUEST:
        return subject.request_id
    return subject.caller if kind is Unit.USER else subject.key_id
