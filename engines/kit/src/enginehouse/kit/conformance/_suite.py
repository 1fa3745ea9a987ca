"""The suite: sets the stage for one engine, checks the rules in order, and collects the results."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from enginehouse.kit.config import ConfigError
from enginehouse.kit.conformance._doubles import DoubleServer, GatewayDouble, RouterDouble
from enginehouse.kit.conformance._engine import EngineUnderTest, StartError, write_config
from enginehouse.kit.conformance._examples import RequestExample, guesses, read_examples
from enginehouse.kit.conformance._options import ConformanceOptions
from enginehouse.kit.conformance._reflection import ReflectionError, ServedMethod, describe_service
from enginehouse.kit.conformance._rule import (
    ConformanceRule,
    Failed,
    Inapplicable,
    Need,
    RuleResult,
    RuleVerdict,
)
from enginehouse.kit.conformance._session import Session
from enginehouse.kit.conformance.rules import (
    caps,
    discovery,
    endings,
    errors,
    grants,
    lifecycle,
    messages,
    registry,
    usage,
)
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.testing import ReservedPort

RULES: Sequence[ConformanceRule] = tuple(
    rule
    for family in (
        discovery.FAMILY,
        messages.FAMILY,
        grants.FAMILY,
        errors.FAMILY,
        caps.FAMILY,
        endings.FAMILY,
        usage.FAMILY,
        registry.FAMILY,
        # The engine is killed and started again, then told to end.
        lifecycle.CRASH,
        lifecycle.DRAIN,
    )
    for rule in family.rules
)
"""Every rule, in the order in which they are checked."""

_LEASE_S = 2
_RULE_S = 90.0
# An engine that never registers is told by the rules on the registry; nothing else waits for it for longer.
_REGISTRATION_S = 2.0


def run(
    options: ConformanceOptions,
    *,
    started: Callable[[ConformanceRule], None] = lambda rule: None,
    finished: Callable[[RuleResult], None] = lambda result: None,
) -> list[RuleResult]:
    """Check an engine and return the result of each rule that was chosen.

    Args:
        options: which engine, and what is known of it.
        started: called before each rule that is checked.
        finished: called with each result.

    Raises:
        ConfigError: the options, the request file or the keys file are wrong.
        StartError: the engine does not start or cannot be reached.
    """
    return asyncio.run(check_engine(options, started=started, finished=finished))


def chosen_rules(starts: Sequence[str]) -> list[ConformanceRule]:
    """The rules whose id is one of the texts or begins with one and a dot; every rule if there is none.

    Raises:
        ConfigError: no rule is meant by one of the texts.
    """
    for start in starts:
        if not any(_meant(rule, start) for rule in RULES):
            families = ", ".join(dict.fromkeys(rule.id.partition(".")[0] for rule in RULES))
            raise ConfigError(f"no rule {start!r}; families of rules: {families}")
    return [rule for rule in RULES if not starts or any(_meant(rule, start) for start in starts)]


def _meant(rule: ConformanceRule, start: str) -> bool:
    return rule.id == start or rule.id.startswith(f"{start}.")


async def check_engine(
    options: ConformanceOptions,
    *,
    started: Callable[[ConformanceRule], None] = lambda rule: None,
    finished: Callable[[RuleResult], None] = lambda result: None,
) -> list[RuleResult]:
    """Check an engine on the running event loop; arguments, result and errors as for `run`."""
    options.check()
    rules = chosen_rules(options.rules)
    results = []
    async with _stage(options) as session:
        for rule in rules:
            started(rule)
            result = await _check(rule, session)
            finished(result)
            results.append(result)
    return results


async def _check(rule: ConformanceRule, session: Session) -> RuleResult:
    began = time.monotonic()
    verdict, reason = RuleVerdict.PASSED, ""
    lacking = [reason for need in Need if need in rule.needs and (reason := _lacking(need, session))]
    try:
        if lacking:
            raise Inapplicable(lacking[0])
        await session.reset(rule.scenario)
        async with asyncio.timeout(_RULE_S):
            await rule.check(session)
        if session.died:
            raise Failed(f"the engine ended by itself, with status {session.engine.exit_status}")
    except Inapplicable as skipped:
        verdict, reason = RuleVerdict.SKIPPED, str(skipped)
    except Failed as failed:
        verdict, reason = RuleVerdict.FAILED, str(failed)
        if session.died:
            reason += f"; the engine ended by itself, with status {session.engine.exit_status}"
    except TimeoutError:
        verdict, reason = RuleVerdict.FAILED, f"the rule is not through after {_RULE_S:g} s"
    except StartError as error:
        verdict, reason = RuleVerdict.FAILED, str(error)
    except Exception as error:
        # An engine may answer with anything; the other rules are checked all the same.
        verdict, reason = RuleVerdict.FAILED, f"the check broke off: {type(error).__name__}: {error}"
    return RuleResult(rule, verdict, reason, time.monotonic() - began)


def _lacking(need: Need, session: Session) -> str:
    """The reason why a need is not met; empty where it is."""
    options = session.options
    unanswered = "; ".join(f"{path}: {reason}" for path, reason in session.unanswered.items())
    hint = f"give one with --request ({unanswered})" if unanswered else "give one with --request"
    met, reason = {
        Need.METHODS: (bool(session.methods), session.methods_missing),
        Need.KEYS: (session.has_keys, "the engine's grant keys are not known; give --grant-keys, or --command"),
        Need.ROUTER: (session.router_server is not None, "the engine does not report here; give --router-listen"),
        Need.GATEWAY: (session.gateway_server is not None, "the engine does not register here; give --gateway-listen"),
        Need.PROCESS: (options.command is not None, "the suite does not start the engine; give --command"),
        Need.EXAMPLE: (bool(session.examples), f"no request is known that the engine answers; {hint}"),
        Need.PAID_EXAMPLE: (bool(session.paid), f"no request is known that a model answers; {hint}"),
        Need.STREAM: (bool(session.streamed), f"no request is known that a model answers with a stream; {hint}"),
        Need.HTTP_BODY: (
            any(method.takes_http_body for method in session.methods),
            "no method takes google.api.HttpBody",
        ),
        Need.MESSAGE_LIMIT: (
            options.max_message_bytes is not None,
            "the size of the largest message is not known; give --max-message-bytes",
        ),
    }[need]
    return "" if met else reason


@contextlib.asynccontextmanager
async def _stage(options: ConformanceOptions) -> AsyncIterator[Session]:
    """The doubles and the engine, started, with the methods and examples that there are."""
    async with contextlib.AsyncExitStack() as stack:
        directory = options.directory
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="enginehouse-conformance-")))
        directory.mkdir(parents=True, exist_ok=True)
        keys, keys_file = _keys(options, directory)
        router, gateway = RouterDouble(), GatewayDouble(lease_seconds=_LEASE_S)
        servers: list[DoubleServer | None] = []
        for double, listen in ((router, options.router_listen), (gateway, options.gateway_listen)):
            if listen is None and options.command is None:
                servers.append(None)
                continue
            server = DoubleServer(double, listen=listen or "127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop)
            servers.append(server)
        router_server, gateway_server = servers
        target = options.target or stack.enter_context(ReservedPort()).address
        spool = directory / "spool"
        spool.mkdir(exist_ok=True)
        values = {
            "listen": target,
            "host": target.rpartition(":")[0].strip("[]"),
            "port": target.rpartition(":")[2],
            "router": router_server.address if router_server is not None else "",
            "gateway": gateway_server.address if gateway_server is not None else "",
            "grant_keys": str(keys_file or ""),
            "spool": str(spool),
            "directory": str(directory),
            "engine_id": "conformance-1",
        }
        if options.config is not None:
            values["config"] = str(write_config(options.config, values, directory=directory))
        engine = EngineUnderTest(
            target=target,
            command=options.command,
            values=values,
            log=directory / "engine.log",
            start_s=options.start_s,
        )
        stack.push_async_callback(engine.close)
        await engine.start()
        session = Session(
            options=options,
            engine=engine,
            keys=keys,
            router=router,
            gateway=gateway,
            router_server=router_server,
            gateway_server=gateway_server,
        )
        await _discover(session)
        engine.check_runs()
        yield session


def _keys(options: ConformanceOptions, directory: Path) -> tuple[GrantKeys | None, Path | None]:
    """The engine's grant keys and their file: the given one, or one of two keys for an engine that is started."""
    if options.grant_keys is not None:
        return GrantKeys.load(options.grant_keys), options.grant_keys
    if options.command is None:
        return None, None
    path = directory / "grant.keys"
    if not path.exists():
        GrantKeys.generate(path, key_id="conformance-1")
        other = directory / "other.keys"
        GrantKeys.generate(other, key_id="conformance-2")
        with path.open("a") as file:
            file.write(other.read_text())
        other.unlink()
    return GrantKeys.load(path), path


async def _discover(session: Session) -> None:
    """Find the methods of the services, and a request for each that the engine answers."""
    options = session.options
    methods: list[ServedMethod] = []
    try:
        for service in options.services:
            methods += await describe_service(session.engine.channel, service, timeout_s=session.patience_s)
    except ReflectionError as error:
        session.methods_missing = str(error)
        return
    session.methods = methods
    given = read_examples(options.request_file, methods) if options.request_file is not None else []
    if not session.has_keys:
        return
    if session.gateway_server is not None:
        with contextlib.suppress(Failed):
            await session.wait_for(lambda: session.registration, "", timeout_s=_REGISTRATION_S)
    models = session.known_models
    found = []
    for entry in given:
        example = entry.example
        grants = [example.models] if entry.names_models else [(), *((model,) for model in models)]
        tried = [
            RequestExample(
                method=example.method,
                models=granted,
                messages=example.messages,
                long_messages=example.long_messages,
                invalid_messages=example.invalid_messages,
                given=True,
            )
            for granted in grants
        ]
        found.append(await _first_answered(session, tried))
        session.given_paths.add(example.method.path)
    for method in methods:
        if method.path not in session.given_paths:
            guessed = await _first_answered(session, list(guesses(method, models=models)))
            found.append(guessed)
    session.examples = [example for example in found if example is not None]


async def _first_answered(session: Session, tried: Sequence[RequestExample]) -> RequestExample | None:
    """The first example that the engine answers; where it answers none, the reason is noted."""
    refusals: list[str] = []
    for example in tried:
        ended = await session.call(example.method, example.messages, token=session.example_token(example))
        if ended.ok:
            session.unanswered.pop(example.method.path, None)
            return example
        refusals.append(str(ended))
        session.unanswered[example.method.path] = refusals[0] if len(tried) == 1 else refusals[-1]
    return None
