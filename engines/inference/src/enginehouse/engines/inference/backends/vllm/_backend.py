"""The vLLM backend: Hugging Face model folders on accelerators, one vLLM engine a model, in process.

vLLM is an extra and is imported when its first model loads. Its engine runs in processes of its own; it reads some of
its settings only from the environment.
"""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import uuid
from collections.abc import AsyncGenerator, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.engines.inference.backends.base import (
    EmbeddingResult,
    PreparedRequest,
    TextModelInfo,
    refuse_prompt_scores,
)
from enginehouse.engines.inference.backends.vllm._options import VllmOptions
from enginehouse.engines.inference.backends.vllm._pieces import OutputReader
from enginehouse.engines.inference.backends.vllm._requests import constraint_of, messages_of, sampling_of, tools_of
from enginehouse.engines.inference.generation.conversations import TemplateRefusal, forms_of
from enginehouse.engines.inference.generation.events import GenerationEvent
from enginehouse.kit.backends.options import read_options
from enginehouse.kit.backends.packages import PackagedWeights
from enginehouse.kit.backends.weights import weights_folder
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError, clip

_PIP = "pip install 'enginehouse-inference[vllm]', in an environment made as requirements/vllm.in says"


class VllmBackend:
    """The backend of Hugging Face model folders.

    Args:
        models_dir: the folder that relative `file:` sources are relative to.
        environ: the process's environment, from which vLLM reads its own settings.
    """

    name = "vllm"

    def __init__(
        self, *, models_dir: Path, environ: MutableMapping[str, str], packages: PackagedWeights | None = None
    ) -> None:
        self._models_dir = models_dir
        self._packages = packages
        self._environ = environ

    async def inspect(self, model: CatalogModel) -> TextModelInfo:
        """Check the model's options and folder, and that vLLM is installed."""
        options, folder = await asyncio.to_thread(self._checked, model)
        if importlib.util.find_spec("vllm") is None:
            raise _not_installed(model)
        return _info(model, options, folder)

    async def load(self, model: CatalogModel) -> VllmModel:
        """Start an engine for the model, which takes from half a minute to many."""
        options, folder = await asyncio.to_thread(self._checked, model)
        # No telemetry; and processes are spawned, since a fork of a process with running threads may never wake.
        self._environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        self._environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        if options.kv_cache_gib:
            self._environ["VLLM_CPU_KVCACHE_SPACE"] = str(options.kv_cache_gib)
        engine = await asyncio.to_thread(_start, folder, model, options)
        loaded = VllmModel(model=model, info=_info(model, options, folder), engine=engine)
        if "chat" in model.capabilities and not loaded.has_chat_template:
            await loaded.close()
            raise ServiceError(
                Reason.INVALID_REQUEST,
                f"model {model.name!r} in the catalog cannot chat: {folder} has no chat template",
            )
        return loaded

    def _checked(self, model: CatalogModel) -> tuple[VllmOptions, Path]:
        options = read_options(VllmOptions, model)
        if "embeddings" in model.capabilities:
            raise ServiceError(
                Reason.INVALID_REQUEST,
                f"model {model.name!r} in the catalog: vllm makes no embeddings; use llama.cpp or an upstream",
            )
        if not model.source.startswith("file:"):
            raise ServiceError(
                Reason.INVALID_REQUEST,
                f"model {model.name!r} in the catalog: vllm needs file:FOLDER, the folder of a Hugging Face model, not "
                f"{model.source!r}",
            )
        return options, weights_folder(
            model, models_dir=self._models_dir, files=("config.json",), like="ORG/REPO", packages=self._packages
        )


class VllmModel:
    """One model, in an engine of its own; implements `LoadedTextModel`."""

    def __init__(self, *, model: CatalogModel, info: TextModelInfo, engine: Any) -> None:
        self._model = model
        self.info = info
        """Its properties."""
        self._engine = engine
        # A copy, since vLLM's own tokenizer is busy with the output meanwhile.
        self._tokenizer = copy.deepcopy(engine.get_tokenizer())
        self._tokenizing = asyncio.Lock()
        self._defaults: Mapping[str, Any] = engine.model_config.get_diff_sampling_param()

    @property
    def has_chat_template(self) -> bool:
        """True if the model's folder has one."""
        return bool(getattr(self._tokenizer, "chat_template", None))

    async def prepare(self, request: generation_pb2.GenerateRequest) -> PreparedRequest:
        """Apply the chat template and count the prompt."""
        constraint_of(request)
        refuse_prompt_scores(request, backend=VllmBackend.name)
        async with self._tokenizing:
            tokens = await asyncio.to_thread(self._tokens, request)
            text = ""
            if request.echo and request.prompt_token_ids:
                text = await asyncio.to_thread(self._tokenizer.decode, tokens)
        return PreparedRequest(request, len(tokens), tokens, prompt_text=text)

    async def generate(
        self, prepared: PreparedRequest, *, max_output_tokens: int
    ) -> AsyncGenerator[Sequence[GenerationEvent], None]:
        """Run the engine; closing the generator aborts the request there."""
        from vllm import SamplingParams  # type: ignore[import-not-found]
        from vllm.exceptions import VLLMClientError  # type: ignore[import-not-found]
        from vllm.sampling_params import (  # type: ignore[import-not-found]
            RequestOutputKind,
            StructuredOutputsParams,
        )

        request = prepared.request
        constraint = constraint_of(request)
        reader = OutputReader(request=request, input_tokens=prepared.input_tokens)
        try:
            sampling = SamplingParams(
                **sampling_of(request, defaults=self._defaults),
                max_tokens=max_output_tokens,
                output_kind=RequestOutputKind.DELTA,
                structured_outputs=StructuredOutputsParams(**constraint) if constraint else None,
            )
            outputs = self._engine.generate(
                {"prompt_token_ids": prepared.state}, sampling, request_id=f"{uuid.uuid4().hex}"
            )
            async with aclosing(outputs):
                async for output in outputs:
                    if events := reader.read(output):
                        yield events
        except (VLLMClientError, ValueError) as error:
            reason = Reason.INVALID_SCHEMA if constraint else Reason.INVALID_REQUEST
            raise ServiceError(reason, f"invalid request: vLLM refuses it: {clip(str(error), 500)}") from None
        except ServiceError:
            raise
        except Exception as error:
            raise ServiceError(
                Reason.BACKEND_FAILED, f"vLLM failed: {type(error).__name__}: {clip(str(error), 500)}"
            ) from error

    async def embed(self, inputs: Sequence[str], *, max_input_tokens: int) -> EmbeddingResult:
        """Raise UNSUPPORTED_CAPABILITY."""
        raise ServiceError(Reason.UNSUPPORTED_CAPABILITY, f"model {self._model.name!r} cannot make embeddings")

    async def tokenize(self, text: str) -> Sequence[int]:
        """Return the text's tokens."""
        async with self._tokenizing:
            tokens: list[int] = await asyncio.to_thread(self._tokenizer.encode, text, add_special_tokens=False)
        return tokens

    def kv_cache_used(self) -> float:
        """Return 0: only vLLM's own metrics have it."""
        return 0.0

    async def close(self) -> None:
        """End the engine's processes."""
        await asyncio.to_thread(self._engine.shutdown)

    def _tokens(self, request: generation_pb2.GenerateRequest) -> list[int]:
        if not request.messages:
            return list(request.prompt_token_ids) or list(self._tokenizer.encode(request.prompt))
        tools, refused = tools_of(request), None
        for messages in forms_of(request.messages):
            try:
                text = self._tokenizer.apply_chat_template(
                    messages_of(messages), tools=tools, add_generation_prompt=True, tokenize=False
                )
            except Exception as error:
                # A template is a program by the model's makers: it may fail in any way. What it says of the
                # conversation as it came explains most.
                refused = refused or TemplateRefusal(clip(str(error), 300))
            else:
                return list(self._tokenizer.encode(text, add_special_tokens=False))
        assert refused is not None
        raise refused


def _info(model: CatalogModel, options: VllmOptions, folder: Path) -> TextModelInfo:
    # Batches change the last bits of its numbers, and its sampler's state is not accessible: nothing can be resumed.
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    return TextModelInfo(
        slots=options.slots,
        memory_bytes=max(1, weights + options.kv_cache_gib * 2**30),
        context_tokens=model.context_tokens,
    )


def _not_installed(model: CatalogModel, error: ImportError | None = None) -> ServiceError:
    why = f" ({error})" if error is not None else ""
    return ServiceError(
        Reason.FAILED_PRECONDITION, f"model {model.name!r} needs vLLM, which is not installed here{why}: {_PIP}"
    )


def _start(folder: Path, model: CatalogModel, options: VllmOptions) -> Any:
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs  # type: ignore[import-not-found]
        from vllm.v1.engine.async_llm import AsyncLLM  # type: ignore[import-not-found]
    except ImportError as error:
        raise _not_installed(model, error) from None
    try:
        return AsyncLLM.from_engine_args(
            AsyncEngineArgs(
                model=str(folder),
                served_model_name=model.name,
                max_model_len=model.context_tokens or None,
                max_num_seqs=options.slots,
                tensor_parallel_size=options.tensor_parallel_size,
                dtype=options.dtype,
                gpu_memory_utilization=options.gpu_memory_utilization,
                enable_prefix_caching=options.prefix_caching,
                enforce_eager=options.enforce_eager,
                # A model that may write blanks anywhere may write nothing else up to its bound.
                structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
                disable_log_stats=True,
            )
        )
    except Exception as error:
        raise ServiceError(
            Reason.BACKEND_FAILED,
            f"vLLM cannot load {model.name!r} from {folder}: {type(error).__name__}: {clip(str(error), 500)}",
        ) from error
