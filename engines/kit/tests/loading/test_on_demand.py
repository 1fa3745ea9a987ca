"""Models are loaded for their first call, once for all that wait, and unloaded when they are idle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from enginehouse.kit.current_call import CurrentCall, current_call
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.loading import LoadError, LoadState
from engines.kit.tests.loading.toys import Runtime, Served, serve, settled, toy_model


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Check that nothing which the test started outlives the models."""
    yield
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith(("load-", "unload-"))]


pytestmark = pytest.mark.usefixtures("no_task_left")


async def use(served: Served, name: str = "a") -> str:
    """Use a model; return how that ended."""
    try:
        async with served[name].use() as loaded:
            assert not loaded.closed
            return "served"
    except ServiceError as error:
        return error.reason


async def test_nothing_is_loaded_before_it_is_used() -> None:
    served = await serve()
    assert [model.catalog.name for model in served.models.all] == ["a", "b", "c"]
    assert served.runtime.loads == []
    assert served["a"].state is LoadState.UNLOADED
    assert not served["a"].info.measured
    async with served["a"].hold() as loaded:
        assert served["a"].loaded is loaded
        assert served["a"].slots.active == 1
    assert served.runtime.loads == ["a"]
    assert served["a"].info.measured, "what loading has measured is known from then on"
    await served.models.close()
    assert served.runtime.living == []


async def test_callers_that_wait_share_one_load_and_a_cancelled_one_does_not_end_it() -> None:
    served = await serve()
    served.runtime.may_load.clear()
    first, second, third = (asyncio.create_task(use(served)) for _ in range(3))
    await settled()
    assert served["a"].state is LoadState.LOADING
    first.cancel()
    await settled()
    assert first.cancelled()
    served.runtime.may_load.set()
    assert await asyncio.gather(second, third) == ["served", "served"]
    assert served.runtime.loads == ["a"]
    await served.models.close()


async def test_a_load_that_nobody_waits_for_any_more_ends_and_the_model_idles() -> None:
    served = await serve(keep_alive_s=10)
    served.runtime.may_load.clear()
    only = asyncio.create_task(use(served))
    await settled()
    only.cancel()
    served.runtime.may_load.set()
    await settled()
    assert served["a"].state is LoadState.LOADED
    await served.clock.advance(10)
    assert served["a"].state is LoadState.UNLOADED
    await served.models.close()


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ServiceError(Reason.BACKEND_FAILED, "the file is damaged"), Reason.BACKEND_FAILED),
        (ServiceError(Reason.WEIGHTS_ABSENT, "the file is gone"), Reason.WEIGHTS_ABSENT),
        (MemoryError(), Reason.BACKEND_FAILED),
    ],
)
async def test_a_failed_load_says_why_to_all_and_is_tried_again_after_a_moment(
    failure: Exception, reason: Reason
) -> None:
    served = await serve()
    served.runtime.may_load.clear()
    served.runtime.failures.append(failure)
    waiting = [asyncio.create_task(use(served)) for _ in range(2)]
    await settled()
    served.runtime.may_load.set()
    assert await asyncio.gather(*waiting) == [reason, reason]
    assert served["a"].state is LoadState.UNLOADED
    # No storm of loads: calls that come at once get the same error.
    assert await use(served) == reason
    assert served.runtime.loads == ["a"]
    await served.clock.advance(1)
    assert await use(served) == "served"
    assert served.runtime.loads == ["a", "a"]
    await served.models.close()


async def test_a_defect_of_a_runtime_reaches_the_caller_and_leaves_the_model_usable() -> None:
    served = await serve()
    served.runtime.failures.append(ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError, match="a defect"):
        await use(served)
    await served.clock.advance(1)
    assert await use(served) == "served"
    await served.models.close()


async def test_an_idle_model_is_unloaded_and_a_later_call_loads_it_again() -> None:
    served = await serve(keep_alive_s=300)
    await served.used("a")
    await served.clock.advance(299)
    await served.used("a")
    await served.clock.advance(299)
    assert served["a"].state is LoadState.LOADED, "idleness begins anew with each use"
    await served.clock.advance(1)
    assert served["a"].state is LoadState.UNLOADED
    assert served.runtime.living == []
    assert await use(served) == "served"
    assert served.runtime.loads == ["a", "a"]
    await served.models.close()


async def test_a_model_in_use_is_never_unloaded_however_long_that_is() -> None:
    served = await serve(keep_alive_s=5)
    async with served["a"].use() as loaded, served["a"].hold() as same:
        await served.clock.advance(10_000)
        assert loaded is same
        assert not loaded.closed
    await served.clock.advance(5)
    assert loaded.closed
    await served.models.close()


async def test_a_model_stays_for_the_calls_that_wait_for_a_slot() -> None:
    served = await serve(toy_model("a", keep_alive_s=0), queue_per_model=1)
    model = served["a"]
    async with model.hold() as loaded:
        async with model.hold():
            waiting = asyncio.create_task(model.hold().__aenter__())
            await settled()
            assert model.slots.queued == 1
            with pytest.raises(ServiceError, match="the engine is busy"):
                await model.hold().__aenter__()
        assert await waiting is loaded
    await settled()
    assert served.runtime.loads == ["a"]
    assert not loaded.closed
    await served.models.close()


async def test_how_long_a_model_stays_is_the_catalogs_word_before_the_engines() -> None:
    models = [toy_model("a", keep_alive_s=-1), toy_model("b", keep_alive_s=0), toy_model("c", keep_alive_s=7)]
    served = await serve(*models, toy_model("d"), keep_alive_s=20)
    for name in "abcd":
        await served.used(name)
    assert served.runtime.living == ["a", "c", "d"], "0 unloads at once"
    await served.clock.advance(7)
    assert served.runtime.living == ["a", "d"]
    await served.clock.advance(10**6)
    assert served.runtime.living == ["a"]
    await served.models.close()


async def test_a_model_that_takes_no_memory_stays_loaded() -> None:
    served = await serve(runtime=Runtime(sizes={"a": 0}), keep_alive_s=1)
    await served.used("a")
    await served.clock.advance(100)
    assert served["a"].state is LoadState.LOADED
    await served.models.close()


async def test_a_call_that_comes_while_it_unloads_waits_and_loads_it_again() -> None:
    served = await serve(keep_alive_s=5)
    await served.used("a")
    served.runtime.may_close.clear()
    await served.clock.advance(5)
    assert served["a"].state is LoadState.UNLOADING
    late = asyncio.create_task(use(served))
    await settled()
    assert served.runtime.loads == ["a"]
    assert not late.done()
    served.runtime.may_close.set()
    assert await late == "served"
    assert served.runtime.loads == ["a", "a"]
    await served.models.close()


async def test_a_call_is_told_how_long_it_waited_for_the_load() -> None:
    served = await serve()
    served.runtime.may_load.clear()

    async def call() -> CurrentCall:
        made = CurrentCall("/toy/Call", ())
        made.lead("x-enginehouse-model", "a")
        current_call.set(made)
        await use(served)
        return made

    waiting = asyncio.create_task(call())
    await settled()
    await served.clock.advance(1.25)
    served.runtime.may_load.set()
    assert (await waiting).leading == (("x-enginehouse-model", "a"), ("x-enginehouse-load-ms", "1250"))
    assert (await asyncio.create_task(call())).leading == (("x-enginehouse-model", "a"),)
    await served.models.close()


async def test_warm_models_are_loaded_at_start_and_must_load() -> None:
    served = await serve(warm_up=["b"])
    assert served.runtime.loads == ["b"]
    await served.models.close()
    with pytest.raises(LoadError, match="warm_up: 'x' is not among the models that are served here: a, b, c"):
        await serve(warm_up=["x"])
    with pytest.raises(LoadError, match="cannot serve 'b': the weights of 'b' are not here"):
        await serve(runtime=Runtime(absent={"b"}), warm_up=["b"])
    broken = Runtime(failures=[ServiceError(Reason.BACKEND_FAILED, "the file is damaged")])
    with pytest.raises(LoadError, match="cannot load 'a': the file is damaged"):
        await serve(runtime=broken, warm_up=["a", "b"])
    assert broken.living == []


async def test_models_without_weights_are_left_out_with_their_error() -> None:
    served = await serve(runtime=Runtime(absent={"a"}))
    assert [model.catalog.name for model in served.models.all] == ["b", "c"]
    with pytest.raises(ServiceError, match="the weights of 'a' are not here"):
        served.models.find("a")
    with pytest.raises(LoadError, match="cannot serve 'a'"):
        await serve(runtime=Runtime(absent={"a"}), names=["a"])
    with pytest.raises(LoadError, match="no model to serve: the weights of 'a'"):
        await serve(toy_model("a"), runtime=Runtime(absent={"a"}))
    with pytest.raises(LoadError, match="cannot serve 'a': a: unknown option"):
        await serve(toy_model("a", options={"x": 1}))
    await served.models.close()


async def test_closing_waits_for_loads_frees_everything_and_starts_nothing() -> None:
    served = await serve(keep_alive_s=5)
    await served.used("b")
    served.runtime.may_load.clear()
    waiting = asyncio.create_task(use(served, "a"))
    await settled()
    closing = asyncio.create_task(served.models.close())
    await settled()
    assert not closing.done()
    served.runtime.may_load.set()
    await asyncio.gather(closing, waiting)
    assert served.runtime.living == []
    assert served.clock.pending == 0
    assert await use(served, "a") == Reason.ENGINE_DRAINING
    assert await use(served, "c") == Reason.ENGINE_DRAINING


async def test_a_model_whose_closing_fails_can_be_loaded_again() -> None:
    served = await serve(keep_alive_s=0)
    async with served["a"].use() as loaded:

        async def fail() -> None:
            served.runtime.living.remove("a")
            raise RuntimeError("it does not end")

        loaded.close = fail  # type: ignore[method-assign]
    await settled()
    assert served["a"].state is LoadState.UNLOADED
    assert await use(served) == "served"
    await settled()
    await served.models.close()
