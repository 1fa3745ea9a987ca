"""The catalog as it is alive, and decisions explained."""

from __future__ import annotations

from enginehouse.api.router.v1 import admin_pb2
from enginehouse.kit.catalog import CatalogModel
from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.pricing import in_order, unit_price
from enginehouse.router.api.access import Administrator, denied
from enginehouse.router.api.paging import page_size, page_start, page_token
from enginehouse.router.decision.decide import State, decide
from enginehouse.router.decision.single_model import SingleModelComparison
from enginehouse.router.identity import Authenticator
from enginehouse.router.policy import checked_route, policy_tasks
from enginehouse.router.request import Task, sample_request

_GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"
_MAX_NANOS = 2**63 - 1


class CatalogAdmin:
    """Lists models and explains choices."""

    def __init__(self, *, contracts: Contracts, state: State, callers: Authenticator) -> None:
        self._contracts = contracts
        self._state = state
        self._callers = callers

    def list_models(self, request: admin_pb2.ListModelsRequest) -> admin_pb2.ListModelsResponse:
        """List the catalog by name, and on the first page its aliases."""
        size = page_size(request.page_size)
        after = page_start(request.page_token, "models")
        aliases = () if after else self._state.catalog.aliases.items()
        rest = [model for model in self._state.catalog.models if model.name > after]
        return admin_pb2.ListModelsResponse(
            models=[self._message(model) for model in rest[:size]],
            next_page_token=page_token("models", rest[size - 1].name) if len(rest) > size else "",
            aliases=[admin_pb2.ModelAlias(alias=alias, model=model) for alias, model in aliases],
        )

    def explain(self, request: admin_pb2.ExplainRequest, caller: Administrator) -> admin_pb2.ExplainResponse:
        """Return what would be decided for a key and a prompt, with the reasons. Budgets and limits are not asked."""
        key_id = request.key_id or caller.key_id
        owner = self._callers.get(key_id)
        if owner is None or (not caller.everything and owner.tenant.tenant_id != caller.tenant_id):
            if not caller.everything:
                raise denied("explaining another tenant's key")
            raise ServiceError(Reason.NOT_FOUND, f"no usable key {key_id[:64]!r}; list them with ListKeys")
        if request.max_output_tokens < 0:
            raise ServiceError(
                Reason.INVALID_REQUEST, f"max_output_tokens: {request.max_output_tokens} must not be negative"
            )
        method = self._contracts.methods.get(request.method or _GENERATE)
        task, subject = checked_route(
            request.task,
            request.subject,
            Task.NONE if method is None else method.task,
            tasks=policy_tasks(self._contracts),
        )
        if method is None or not method.task:
            raise ServiceError(
                Reason.UNKNOWN_METHOD,
                f"no model serves the method {request.method[:200]!r}; leave it out for generating text",
            )
        ask = sample_request(
            method,
            model=request.model,
            prompt=request.prompt,
            max_output_tokens=request.max_output_tokens,
            policy_task=task,
            subject=subject,
            language=request.language,
            voice=request.voice,
        )
        ask.follow_alias(self._state.catalog.aliases)
        decision = decide(ask, owner, self._state, explain=True)
        prediction = decision.prediction
        assert prediction is not None
        refusal, rules = decision.refusal, decision.rules
        response = admin_pb2.ExplainResponse(
            admitted=refusal is None,
            refusal="" if refusal is None else refusal.reason.value,
            refusal_message="" if refusal is None else refusal.message,
            complexity=prediction.complexity,
            quality_needed=decision.quality_needed,
            features=[admin_pb2.Feature(name=name, value=value) for name, value in prediction.features],
            task=decision.task,
            subject=decision.subject,
            policy=rules.policy,
            policy_version=rules.version,
            layers=rules.layers,
            rule=decision.rule,
            prompt_class=decision.prompt_class,
            alias=ask.alias,
            languages=decision.languages,
            language_detected=decision.language_detected,
        )
        if decision.single_model is not None:
            response.single_model.MergeFrom(_comparison(decision.single_model))
        first = decision.candidates[0].bound_nanos if decision.candidates else None
        for considered in decision.considered:
            bound = min(considered.bound_nanos, _MAX_NANOS)
            response.candidates.add(
                model=considered.model.name,
                chosen=not considered.rejection_reason,
                passed_over_because=considered.rejection_reason,
                quality=considered.model.quality,
                bound_nanos=bound,
                endpoints=[endpoint.address for endpoint in considered.endpoints],
                sufficiency=considered.sufficiency,
                first_token_ms=considered.first_token_ms,
                health=self._state.fleet.health_of(considered.model.name),
                fallback=considered.fallback,
                price_difference_nanos=0 if first is None else bound - min(first, _MAX_NANOS),
                region=considered.model.region,
                languages=self._state.languages_of(considered.model).tags,
            )
        return response

    def _message(self, model: CatalogModel) -> admin_pb2.CatalogModel:
        return admin_pb2.CatalogModel(
            name=model.name,
            cluster=model.cluster,
            backend=model.backend,
            context_tokens=model.context_tokens,
            capabilities=sorted(model.capabilities),
            quality=model.quality,
            prices=[unit_price(unit, price) for unit, price in in_order(self._state.prices.listed(model))],
            endpoints=[endpoint.address for endpoint in self._state.fleet.serving(model.name)],
            health=self._state.fleet.health_of(model.name),
            languages=self._state.languages_of(model).tags,
        )


def _comparison(compared: SingleModelComparison) -> admin_pb2.SingleModelComparison:
    return admin_pb2.SingleModelComparison(
        requests=compared.requests,
        routed_nanos=min(compared.routed_nanos, _MAX_NANOS),
        routed_sufficiency=compared.routed_sufficiency,
        model=compared.model,
        nanos=min(compared.nanos, _MAX_NANOS),
        sufficiency=compared.sufficiency,
    )
