"""Whatever happens in whatever order, a model in use stays, and memory stays within its limit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from enginehouse.kit.errors import Reason, ServiceError
from engines.kit.tests.loading.toys import Runtime, Served, serve, settled, toy_model

SIZES = {"a": 30, "b": 50, "c": 20}
LIMIT_MIB = 80
EXPECTED = {Reason.ENGINE_BUSY, Reason.BACKEND_FAILED, Reason.ENGINE_DRAINING}

names = st.sampled_from(sorted(SIZES))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), names),
        st.tuples(st.just("end"), st.integers(0, 5)),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
        st.tuples(st.just("pass"), st.sampled_from([0.5, 2.0, 20.0])),
        st.tuples(st.just("fail"), st.none()),
        st.tuples(st.sampled_from(["hold loads", "let loads", "hold unloads", "let unloads"]), st.none()),
    ),
    max_size=40,
)


@dataclass
class Caller:
    """A call that holds a model until it is told to end."""

    task: asyncio.Task[None]
    end: asyncio.Event


@dataclass
class World:
    served: Served
    callers: list[Caller] = field(default_factory=list)

    async def call(self, name: str, end: asyncio.Event) -> None:
        try:
            async with self.served[name].hold() as loaded:
                while not end.is_set():
                    assert not loaded.closed
                    assert name in self.served.runtime.living
                    await asyncio.sleep(0)
                    await end.wait()
                assert not loaded.closed, "unloaded while it was in use"
        except ServiceError as error:
            assert error.reason in EXPECTED

    async def do(self, what: str, value: object) -> None:
        runtime = self.served.runtime
        if what == "begin":
            end = asyncio.Event()
            self.callers.append(Caller(asyncio.create_task(self.call(str(value), end)), end))
        elif what in ("end", "cancel") and self.callers:
            assert isinstance(value, int)
            caller = self.callers[value % len(self.callers)]
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


async def run(plan: list[tuple[str, object]]) -> None:
    models = [toy_model("a", keep_alive_s=0), toy_model("b", keep_alive_s=10), toy_model("c", keep_alive_s=-1)]
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


@given(plan=steps)
@settings(max_examples=150, deadline=None)
def test_no_interleaving_breaks_a_rule(plan: list[tuple[str, object]]) -> None:
    asyncio.run(run(plan))
