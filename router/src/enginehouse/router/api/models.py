"""OpenAI's models endpoints: the models that the key may use and a live engine serves, and their aliases."""

from __future__ import annotations

from typing import Any

import orjson
from google.api import httpbody_pb2

from enginehouse.api.openai.v1 import models_pb2, models_pb2_grpc
from enginehouse.kit.calls.trailers import add_trailer
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import GRANT_HEADER, GrantKeys, verify
from enginehouse.kit.openai import error_metadata
from enginehouse.router.clock import Clock
from enginehouse.router.decision.decide import State
from enginehouse.router.identity import Authenticator, Caller

_PREFIX = "/enginehouse.api.openai.v1.ModelsService/"


class ModelsServicer(models_pb2_grpc.ModelsServiceServicer):
    """Serves `GET /v1/models` and `/v1/models/{model}`."""

    def __init__(self, *, state: State, callers: Authenticator, grant_keys: GrantKeys, clock: Clock) -> None:
        self._state = state
        self._callers = callers
        self._grant_keys = grant_keys
        self._clock = clock

    async def ListModels(self, request: models_pb2.ListModelsRequest, context: Any) -> httpbody_pb2.HttpBody:
        """OpenAI's list."""
        usable = self._usable(self._caller(context, "ListModels"))
        return _json({"object": "list", "data": list(usable.values())})

    async def GetModel(self, request: models_pb2.GetModelRequest, context: Any) -> httpbody_pb2.HttpBody:
        """One of them. Raises UNKNOWN_MODEL, as OpenAI's own error on the edge."""
        found = self._usable(self._caller(context, "GetModel")).get(request.model)
        if found is not None:
            return _json(found)
        error = ServiceError(
            Reason.UNKNOWN_MODEL,
            f"no model {request.model[:128]!r} that this key may use is served now; list them at /v1/models",
        )
        add_trailer(context, *error_metadata(error))
        raise error

    def _caller(self, context: Any, method: str) -> Caller:
        token = ""
        for key, value in context.invocation_metadata() or ():
            if key == GRANT_HEADER:
                token = str(value)
        grant = verify(token, keys=self._grant_keys, method=_PREFIX + method, now_ms=self._clock())
        caller = self._callers.of_principal(grant.principal)
        if caller is None:
            raise ServiceError(Reason.KEY_INVALID, "the API key is unknown, revoked or expired")
        return caller

    def _usable(self, caller: Caller) -> dict[str, dict[str, object]]:
        """The models by name, then the aliases that lead to one of them."""
        state = self._state
        # When a model was made is nowhere told: it is here since the catalog was written.
        common = {"object": "model", "created": state.catalog.written_at_s, "owned_by": "enginehouse"}
        usable = {
            model.name: {"id": model.name, **common, **_facts(model)}
            for model in state.catalog.models
            if state.policy.allows(caller, model) and state.fleet.serving(model.name)
        }
        aliases = {
            alias: {**usable.get(target, common), "id": alias, "alias_of": target}
            for alias, target in state.catalog.aliases.items()
            if target in usable or (target == "auto" and usable)
        }
        return usable | aliases


def _facts(model: CatalogModel) -> dict[str, object]:
    return {"context_length": model.context_tokens, "capabilities": sorted(model.capabilities)}


def _json(value: object) -> httpbody_pb2.HttpBody:
    return httpbody_pb2.HttpBody(content_type="application/json", data=orjson.dumps(value))
