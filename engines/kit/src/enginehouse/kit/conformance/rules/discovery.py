"""Discovery: health says whether the engine serves, reflection what."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2

from enginehouse.kit.conformance._calls import call
from enginehouse.kit.conformance._engine import HEALTH
from enginehouse.kit.conformance._reflection import ReflectionError, describe_service, list_services
from enginehouse.kit.conformance._rule import Failed, RuleFamily, expect
from enginehouse.kit.conformance._session import Session

FAMILY = RuleFamily("discovery")
rule = FAMILY.rule


async def health(session: Session, service: str) -> tuple[grpc.StatusCode, str]:
    """The code of a health check, and the status that it says."""
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    ended = await call(session.engine.channel, HEALTH, [request], timeout_s=session.patience_s)
    if not ended.messages:
        return ended.code, ""
    status = health_pb2.HealthCheckResponse.FromString(ended.messages[0]).status
    return ended.code, health_pb2.HealthCheckResponse.ServingStatus.Name(status)


@rule(
    "health",
    "Health",
    "grpc.health.v1 says SERVING for the engine as a whole (the empty name) and for each of its services, without a "
    "grant.",
)
async def _health(session: Session) -> None:
    for service in ("", *session.options.services):
        code, status = await health(session, service)
        expect(
            status == "SERVING", f"the health of {service or 'the engine'} is {status or code.name}; expected SERVING"
        )


@rule("health_unknown", "Health of what is not there", "The health of an unknown service is NOT_FOUND.")
async def _health_unknown(session: Session) -> None:
    code, status = await health(session, "no.such.Service")
    expect(code is grpc.StatusCode.NOT_FOUND, f"the health of an unknown service is {status or code.name}")


@rule("services", "Reflection lists services", "grpc.reflection.v1 lists the services under test, without a grant.")
async def _services(session: Session) -> None:
    try:
        listed = await list_services(session.engine.channel, timeout_s=session.patience_s)
    except ReflectionError as error:
        raise Failed(str(error)) from None
    for service in session.options.services:
        expect(service in listed, f"reflection does not list {service}; it lists {', '.join(listed) or 'nothing'}")


@rule(
    "descriptors",
    "Reflection describes services",
    "grpc.reflection.v1 gives the descriptors of the services under test with all that they depend on.",
)
async def _descriptors(session: Session) -> None:
    for service in session.options.services:
        try:
            methods = await describe_service(session.engine.channel, service, timeout_s=session.patience_s)
        except ReflectionError as error:
            raise Failed(str(error)) from None
        expect(methods, f"{service} has no methods")
