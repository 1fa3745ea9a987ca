"""What a catalog entry may say to the upstream backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import httpx
import pydantic

from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError


class UpstreamOptions(pydantic.BaseModel):
    """The `options` of a catalog model whose backend is upstream."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    model: str = ""
    """The provider's name for the model; empty takes the catalog's."""
    key_variable: str = ""
    """The environment variable that holds the provider's API key; empty sends no key."""
    slots: int = pydantic.Field(default=64, ge=1, le=4096)
    """Requests under way at once; each is a connection."""
    connect_timeout_s: float = pydantic.Field(default=10, gt=0, le=300)
    """Seconds to reach the provider."""
    silence_timeout_s: float = pydantic.Field(default=90, gt=0, le=3600)
    """Seconds without a byte from the provider, the wait for the first token included. Under the gateway's
    `first_byte_timeout_s`, or the gateway gives up before the engine does, and with it the models to fall back to."""
    retries: int = pydantic.Field(default=3, ge=0, le=10)
    """Further attempts after a failure, only before the first token; none where there is a model to fall back to."""
    longest_wait_s: float = pydantic.Field(default=20, ge=0, le=600)
    """A provider that asks to be left alone for longer is not waited for: the caller is told instead."""
    usage: Literal["provider", "estimate"] = "provider"
    """Where the provider reports no usage: `provider` ends the request with UPSTREAM_FAILED (charged for the
    least that was sent); `estimate` charges a token for every four bytes of text, in and out."""
    output_bound: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The parameter that bounds the output: providers of reasoning models want the second."""
    extensions: bool = False
    """Whether the provider takes top_k, min_p, repeat_penalty and grammar, which OpenAI's own API does not."""
    embedding_dimensions: int = pydantic.Field(default=0, ge=0, le=65_536)
    """The length of its embeddings; 0 where it makes none."""


@dataclass(frozen=True, slots=True)
class UpstreamProvider:
    """Where a model's requests go."""

    base_url: str
    """Such as `https://api.example.com/v1`; no slash at the end."""
    key: str
    """The API key; never shown. Empty where there is none."""

    def __repr__(self) -> str:
        return f"UpstreamProvider({self.base_url!r})"

    def hidden(self, text: str) -> str:
        """The text without the key, should a provider repeat it."""
        return text.replace(self.key, "[key]") if self.key else text


def find_provider(model: CatalogModel, options: UpstreamOptions, *, environ: Mapping[str, str]) -> UpstreamProvider:
    """The provider that the model's `source` names, with its key from the environment.

    Raises INVALID_REQUEST for a source that is no plain http(s) URL, FAILED_PRECONDITION for a key that is not set.
    """
    try:
        url = httpx.URL(model.source)
    except httpx.InvalidURL as error:
        raise _bad_source(model, str(error)) from None
    if url.userinfo or url.query or url.fragment:
        raise _bad_source(model, "the URL must carry no credentials, query or fragment; name the key in key_variable")
    if url.scheme not in ("http", "https") or not url.host:
        raise _bad_source(model, f"{model.source!r} must be an http:// or https:// URL, such as https://HOST/v1")
    key = ""
    if options.key_variable:
        key = environ.get(options.key_variable, "").strip()
        if not key:
            raise ServiceError(
                Reason.FAILED_PRECONDITION,
                f"model {model.name!r} needs its provider's API key in the environment variable "
                f"{options.key_variable}, which is not set",
            )
    return UpstreamProvider(base_url=str(url).rstrip("/"), key=key)


def _bad_source(model: CatalogModel, why: str) -> ServiceError:
    return ServiceError(Reason.INVALID_REQUEST, f"model {model.name!r} in the catalog has a bad source: {why}")
