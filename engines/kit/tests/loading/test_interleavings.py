"""Whatever happens in whatever order, a model in use stays, and memory stays within its limit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from enginehouse.kit.errors import Reason, ServiceError
from engines.kit.tests.loading.toys import Runtime, Served, Toy, serve, settled, toy_model

SIZES = {"a": 40, "b": 80, "c": 30}
LIMIT_MIB = 90
EXPECTED = {Reason.ENGINE_BUSY, Reason.BACKEND_FAILED, Reason.ENGINE_DRAINING}

names = st.sampled_from(sorted(SIZES))
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["begin", "use"]), names),
        st.tuples(st.sampled_from(["end", "end", "cancel"]), st.integers(0, 2)),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 20.0, 20.0])),
        st.tuples(st.just("fail"), st.none()),
        st.tuples(st.sampled_from(["hold loads", "let loads", "hold unloads", "let unloads"]), st.none()),
    ),
    min_size=5,
    max_size=40,
)


class Caller:
    """A call that holds a model until it is told to end."""

    def __init__(self, served: Served, name: str) -> None:
        self.name = name
        self.end = asyncio.Event()
        self.held: Toy | None = None
        self.task = asyncio.create_task(self._call(served))

    async def _call(self, served: Served) -> None:
        try:
            async with served[self.name].hold() as self.held:
                await self.end.wait()
                self.held = None
        except ServiceError as error:
            assert error.reason in EXPECTED
        finally:
            self.held = None


@dataclass
class World:
    served: Served
    callers: list[Caller] = field(default_factory=list)

    async def do(self, what: str, value: object) -> None:
        runtime = self.served.runtime
        if what == "begin":
            self.callers.append(Caller(self.served, str(value)))
        elif what == "use":
            passing = Caller(self.served, str(value))
            passing.end.set()
            self.callers.append(passing)
        elif what in ("end", "cancel"):
            assert isinstance(value, int)
            for caller in [caller for caller in self.callers if not caller.task.done()][value : value + 1]:
                caller.end.set() if what == "end" else caller.task.cancel()
        elif what == "pass":
            assert isinstance(value, float)
            await self.served.clock.advance(value)
        elif what == "fail":
            runtime.failures.append(ServiceError(Reason.BACKEND_FAILED, "damaged"))
        elif what.endswith("unloads"):
            runtime.may_close.clear() if what.startswith("hold") else runtime.may_close.set()
        elif what.endswith("loads"):
            runtime.may_load.clear() if what.startswith("hold") else runtime.may_load.set()
        await settled()
        assert sum(SIZES[name] for name in runtime.living) <= LIMIT_MIB
        for caller in self.callers:
            assert caller.held is None or not caller.held.closed, "unloaded while it was in use"
            assert caller.held is None or caller.held is self.served[caller.name].loaded


async def run(plan: list[tuple[str, object]], keep_alive_s: list[float]) -> None:
    models = [toy_model(name, keep_alive_s=seconds) for name, seconds in zip(SIZES, keep_alive_s, strict=True)]
    world = World(await serve(*models, runtime=Runtime(sizes=SIZES), memory_limit_mib=LIMIT_MIB, queue_per_model=2))
    for what, value in plan:
        await world.do(what, value)
    for what in ("let loads", "let unloads"):
        await world.do(what, None)
    for caller in world.callers:
        caller.end.set()
    ended = await asyncio.gather(*(caller.task for caller in world.callers), return_exceptions=True)
    assert [error for error in ended if isinstance(error, Exception)] == []
    await world.served.models.close()
    assert world.served.runtime.living == [], "something was left in memory"


@given(plan=steps, keep_alive_s=st.lists(st.sampled_from([10.0, -1.0, 0.0]), min_size=3, max_size=3))
@example(plan=[("use", "a"), ("use", "c"), ("use", "b")], keep_alive_s=[10.0, 10.0, 10.0])
@example(plan=[("use", "b"), ("begin", "b"), ("pass", 20.0)], keep_alive_s=[10.0, 10.0, 10.0])
@settings(max_examples=200, deadline=None)
def test_no_interleaving_breaks_a_rule(plan: list[tuple[str, object]], keep_alive_s: list[float]) -> None:
    asyncio.run(run(plan, keep_alive_s))
