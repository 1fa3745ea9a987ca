"""The models that are loaded together take no more than the engine's limit, by their estimates."""

from __future__ import annotations

import asyncio

import pytest

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.loading import LoadError, LoadState
from engines.kit.tests.loading.toys import MIB, Runtime, serve, settled, toy_model

SIZES = {"a": 300, "b": 200, "c": 250}


async def test_idle_models_give_way_and_the_least_recently_used_first() -> None:
    served = await serve(runtime=Runtime(sizes=SIZES), memory_limit_mib=600)
    for name in ("a", "b", "a", "c"):
        await served.used(name)
        await served.clock.advance(1)
    assert served.runtime.living == ["a", "c"], "b was used before a"
    await served.used("b")
    assert served.runtime.living == ["c", "b"]
    await served.models.close()


async def test_no_more_is_unloaded_than_is_needed_whatever_the_catalog_says() -> None:
    models = [toy_model("a", keep_alive_s=-1), toy_model("b", keep_alive_s=-1), toy_model("c")]
    served = await serve(*models, runtime=Runtime(sizes=SIZES), memory_limit_mib=550)
    await served.used("b")
    await served.used("a")
    await served.used("c")
    assert served.runtime.living == ["a", "c"]
    await served.models.close()


async def test_models_in_use_stay_and_the_refusal_names_both_and_the_setting() -> None:
    served = await serve(runtime=Runtime(sizes=SIZES), memory_limit_mib=500)
    await served.used("b")
    async with served["a"].use():
        with pytest.raises(ServiceError) as refused:
            async with served["c"].use():
                pass
        assert refused.value.reason is Reason.ENGINE_BUSY
        assert refused.value.retry_after_s
        for word in ("'c' (250 MiB)", "'a' (300 MiB) is in use", "toy.memory_limit_mib", "500 MiB"):
            assert word in refused.value.message
        assert served["b"].state is LoadState.LOADED, "what would not suffice is not unloaded"
    await served.used("c")
    assert served.runtime.living == ["c"]
    await served.models.close()


async def test_a_refusal_for_memory_does_not_delay_the_next_try() -> None:
    served = await serve(runtime=Runtime(sizes=SIZES), memory_limit_mib=300)
    async with served["a"].use():
        with pytest.raises(ServiceError, match="no memory"):
            await served.used("b")
    await served.used("b")
    assert served.runtime.living == ["b"]
    await served.models.close()


async def test_a_model_larger_than_the_limit_is_refused_by_the_settings_name() -> None:
    served = await serve(runtime=Runtime(sizes=SIZES), memory_limit_mib=250)
    with pytest.raises(ServiceError, match=r"needs about 300 MiB, more than toy\.memory_limit_mib allows") as refused:
        await served.used("a")
    assert refused.value.reason is Reason.FAILED_PRECONDITION
    await served.used("c")
    await served.models.close()
    with pytest.raises(LoadError, match=r"toy\.warm_up: these models need about 300 MiB together, more than toy\.mem"):
        await serve(runtime=Runtime(sizes=SIZES), memory_limit_mib=250, warm_up=["a"])
    with pytest.raises(LoadError, match="need about 550 MiB"):
        await serve(runtime=Runtime(sizes=SIZES), memory_limit_mib=500, warm_up=["a", "c"])


async def test_a_load_waits_for_the_memory_of_a_model_that_is_being_unloaded() -> None:
    served = await serve(runtime=Runtime(sizes=SIZES), memory_limit_mib=300, keep_alive_s=5)
    await served.used("a")
    served.runtime.may_close.clear()
    await served.clock.advance(5)
    assert served["a"].state is LoadState.UNLOADING
    waiting = asyncio.create_task(served.used("b"))
    await settled()
    assert served.runtime.living == ["a"]
    served.runtime.may_close.set()
    await waiting
    assert served.runtime.living == ["b"]
    await served.models.close()


async def test_models_that_load_at_once_do_not_count_the_same_room() -> None:
    served = await serve(runtime=Runtime(sizes=SIZES), memory_limit_mib=300)
    served.runtime.may_load.clear()
    first = asyncio.create_task(served.used("c"))
    await settled()
    with pytest.raises(ServiceError, match=r"'c' \(250 MiB\) is in use"):
        await served.used("b")
    served.runtime.may_load.set()
    await first
    await served.models.close()


async def test_a_failed_load_gives_its_memory_back() -> None:
    runtime = Runtime(sizes=SIZES, failures=[ServiceError(Reason.BACKEND_FAILED, "the file is damaged")])
    served = await serve(runtime=runtime, memory_limit_mib=300)
    with pytest.raises(ServiceError, match="damaged"):
        await served.used("a")
    await served.used("c")
    assert sum(SIZES[name] * MIB for name in runtime.living) <= 300 * MIB
    await served.models.close()
