"""Where a request is assigned before its model is chosen. In memory, with no I/O: a microsecond where nothing runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from enginehouse.router.experiments._arms import Experiment, ExperimentState, Flag, Rollout, Unit
from enginehouse.router.request import MESSAGE_OVERHEAD, InferenceRequest, Task


@dataclasses.dataclass(frozen=True, slots=True)
class Exposure:
    """A request that fell into an arm of an experiment, or to one of a rollout's two models."""

    subject_id: str
    arm: str
    unit: str


@dataclasses.dataclass(frozen=True, slots=True)
class Assigned:
    """What a request was assigned to.

    Attributes:
        request: the request as it is decided from here on.
        system_prompt: what the engine puts before the conversation; usually empty.
        exposures: what is to be logged.
        tenant_id: whose request it is.
    """

    request: InferenceRequest
    system_prompt: str
    exposures: Sequence[Exposure]
    tenant_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class ExperimentSubject:
    """Whose request it is, in ids."""

    tenant_id: str
    key_id: str
    user_id: str
    request_id: str

    @property
    def person(self) -> str:
        """The user where one is named, else the key: users are their tenant's."""
        return f"{self.tenant_id}/{self.user_id}" if self.user_id else self.key_id


class Assignment:
    """What runs now, by the model asked for."""

    def __init__(self) -> None:
        self._experiments: dict[str, tuple[Experiment, ...]] = {}
        self._rollouts: dict[str, Rollout] = {}
        self._flags: dict[str, Flag] = {}

    def replace(self, *, experiments: Iterable[Experiment], rollouts: Iterable[Rollout], flags: Iterable[Flag]) -> None:
        """Takes everything anew. Of several for one name the newest holds."""
        by_model: dict[str, list[Experiment]] = {}
        for experiment in sorted(experiments, key=lambda experiment: -experiment.ordinal):
            if experiment.active:
                by_model.setdefault(experiment.asked_model, []).append(experiment)
        self._experiments = {name: tuple(found) for name, found in by_model.items()}
        self._rollouts = {
            rollout.asked_model: rollout for rollout in sorted(rollouts, key=lambda rollout: rollout.ordinal)
        }
        self._flags = {flag.name: flag for flag in flags}

    @property
    def idle(self) -> bool:
        """Whether nothing is assigned to anything."""
        return not self._experiments and not self._rollouts

    def flags(self, subject: ExperimentSubject, names: Iterable[str] = ()) -> list[str]:
        """The flags that are on, in the order of their names."""
        wanted = set(names)
        return sorted(
            flag.name
            for flag in self._flags.values()
            if (not wanted or flag.name in wanted)
            and flag.on_for(tenant_id=subject.tenant_id, user_id=subject.user_id, unit=subject.person)
        )

    def assign(
        self, request: InferenceRequest, subject: ExperimentSubject, *, may_use: Callable[[str], bool]
    ) -> Assigned | None:
        """Where the request goes, or None where nothing applies to it.

        Args:
            request: the request.
            subject: whose it is.
            may_use: whether the caller may use a model. One who may not use every arm's is left out of the experiment,
                or arms would hold different kinds of callers.
        """
        if self.idle:
            return None
        exposures: list[Exposure] = []
        system_prompt = ""
        model = request.model
        experiment = self._experiment(request, subject, may_use)
        if experiment is not None:
            unit = _unit(experiment.unit, subject)
            arm = experiment.arm_of(unit)
            model = arm.model or model
            system_prompt = arm.system_prompt
            if experiment.state is ExperimentState.RUNNING:
                exposures.append(Exposure(experiment.experiment_id, arm.name, unit))
        rollout = self._rollouts.get(model)
        if rollout is not None and request.task != Task.NONE:
            unit = subject.person
            to = rollout.model_of(unit)
            if may_use(to):
                model = to
                if rollout.state.under_way:
                    exposures.append(Exposure(rollout.rollout_id, to, unit))
        changed = model != request.model or bool(system_prompt)
        if not changed and not exposures:
            return None
        if changed:
            more = len(system_prompt.encode()) + MESSAGE_OVERHEAD if system_prompt else 0
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
    return subject.person if kind is Unit.USER else subject.key_id
