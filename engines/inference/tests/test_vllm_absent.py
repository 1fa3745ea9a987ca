"""Errors for models of the vLLM backend where vLLM is not installed, or could never serve them."""

import pytest

from enginehouse.engines.inference.backends.vllm import VllmBackend
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError


def catalog_model(source: str, *capabilities: str, **options: object) -> CatalogModel:
    return CatalogModel(
        name="big",
        cluster="inference",
        backend="vllm",
        source=source,
        context_tokens=1024,
        max_output_tokens=64,
        capabilities=frozenset(capabilities),
        quality=0.9,
        prices={},
        options=options,
    )


async def refused(model: CatalogModel, models_dir, environ=None) -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        await VllmBackend(models_dir=models_dir, environ={} if environ is None else environ).load(model)
    return raised.value


async def test_absent_package_names_the_extra(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    environ: dict[str, str] = {}
    error = await refused(catalog_model(f"file:{tmp_path}", "chat", kv_cache_gib=2), tmp_path, environ)
    assert error.reason is Reason.FAILED_PRECONDITION
    assert "enginehouse-inference[vllm]" in error.message
    assert environ["VLLM_NO_USAGE_STATS"] == "1"
    assert environ["VLLM_CPU_KVCACHE_SPACE"] == "2"


@pytest.mark.parametrize(
    ("source", "capabilities", "options", "reason", "said"),
    [
        ("file:none", ["chat"], {}, Reason.WEIGHTS_ABSENT, "hf download"),
        ("hf:org/repo/x.safetensors", ["chat"], {}, Reason.INVALID_REQUEST, "file:FOLDER"),
        ("file:none", ["embeddings"], {}, Reason.INVALID_REQUEST, "vllm makes no embeddings"),
        ("file:none", ["chat"], {"slot": 1}, Reason.INVALID_REQUEST, "options.slot"),
        ("file:none", ["chat"], {"tensor_parallel_size": 0}, Reason.INVALID_REQUEST, "tensor_parallel_size"),
    ],
)
async def test_what_could_never_be_served(tmp_path, source, capabilities, options, reason, said):
    error = await refused(catalog_model(source, *capabilities, **options), tmp_path)
    assert error.reason is reason
    assert said in error.message
