"""The options of a catalog entry for the upstream backend."""

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
    """Concurrent requests; each is a connection."""
    connect_timeout_s: float = pydantic.Field(default=10, gt=0, le=300)
    """Seconds that connecting to the provider may take."""
    silence_timeout_s: float = pydantic.Field(default=90, gt=0, le=3600)
    """Seconds without a byte from the provider, including the wait for the first token. Keep it under the gateway's
    `first_byte_timeout_s`: otherwise the gateway gives up before the engine can fall back to another model."""
    retries: int = pydantic.Field(default=3, ge=0, le=10)
    """Further attempts after a failure, only before the first token; none if there is a model to fall back to."""
    longest_wait_s: float = pydantic.Field(default=20, ge=0, le=600)
    """The longest pause, in seconds, that the engine waits for a provider; after a longer one the caller is refused."""
    usage: Literal["provider", "estimate"] = "provider"
    """For a provider that reports no usage: `provider` ends the request with UPSTREAM_FAILED (charged for the fewest
    tokens that the output can have); `estimate` charges a token for every four bytes of text, in and out."""
    output_bound: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """The parameter that bounds the output: providers of reasoning models need the second."""
    extensions: bool = False
    """True if the provider accepts top_k, min_p, repeat_penalty and grammar, which OpenAI's own API does not."""
    embedding_dimensions: int = pydantic.Field(default=0, ge=0, le=65_536)
    """The length of its embeddings; 0 if it makes none."""


@dataclass(frozen=True, slots=True)
class UpstreamProvider:
    """The address and the key for a model's requests."""

    base_url: str
    """Such as `https://api.example.com/v1`; no slash at the end."""
    key: str
    """The API key; never shown. Empty if there is none."""

    def __repr__(self) -> str:
        return f"UpstreamProvider({self.base_url!r})"

    def hidden(self, text: str) -> str:
        """Return the text without the key, in case a provider repeats it."""
        return text.replace(self.key, "[key]") if self.key else text


def find_provider(model: CatalogModel, options: UpstreamOptions, *, environ: Mapping[str, str]) -> UpstreamProvider:
    """Return the provider that the model's `source` names, with its key from the environment.

    Raises:
        ServiceError: INVALID_REQUEST for a source that is not a plain http(s) URL, FAILED_PRECONDITION for a missing
            key.
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
