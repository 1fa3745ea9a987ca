"""Routers as they are deployed: processes of their own, with real listeners."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.api import httpbody_pb2
from google.protobuf.message import Message

from enginehouse.api.inference.v1 import generation_pb2
from enginehouse.api.router.v1 import admin_pb2, admin_pb2_grpc
from enginehouse.kit.grants import GrantKeys
from enginehouse.kit.testing import ReservedPort
from enginehouse.router.audit import AuditLog
from enginehouse.router.clock import wall_clock
from enginehouse.router.database import open_database
from enginehouse.router.identity import KeyHasher, KeyStore
from enginehouse.router.identity.bootstrap import bootstrap_key
from router.tests.harness.catalog import CATALOG
from router.tests.harness.registry import MODELS
from router.tests.harness.waiting import wait_until

GENERATE = "/enginehouse.api.inference.v1.GenerationService/Generate"


class RouterProcess:
    """A router process and the calls that Envoy and administrators make of it."""

    def __init__(self, directory: Path, *, database_uri: str, gateway_port: int, extra: str = "") -> None:
        self.directory = directory
        (directory / "pepper").write_text("p" * 32)
        if not (directory / "keys").exists():
            GrantKeys.generate(directory / "keys")
        self.grant_keys = GrantKeys.load(directory / "keys")
        (directory / "catalog.yaml").write_text(CATALOG)
        self._ports = [ReservedPort() for _ in range(3)]
        self.http, self.grpc, self.admin_http = (port.number for port in self._ports)
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
        """Start the process; `ready` waits for it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "enginehouse.router", "serve", "--config", str(self.config)],
                stdout=log,
                stderr=log,
            )

    async def ready(self, *, within_s: float = 80) -> None:
        """Wait until it serves."""
        await wait_until(lambda: self.status("/readyz"), 200, within_s=within_s)

    async def knows_its_engine(self) -> None:
        """Wait until it has heard of the one engine that is there when a test begins, and trusts it."""

        async def healths() -> set[str]:
            listed = await self.admin(self.key, "ListModels", admin_pb2.ListModelsRequest(page_size=100))
            return {model.health for model in listed.models if model.name in MODELS}

        await wait_until(healths, {"1 live"}, within_s=30)

    def kill(self) -> None:
        """Kill it at once (SIGKILL)."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Terminate it (SIGTERM) and return its exit status."""
        if self.process is None or self.process.poll() is not None:
            return 0
        self.process.terminate()
        return self.process.wait(30)

    def close(self) -> None:
        """Give the ports of the stopped process back."""
        for port in self._ports:
            port.close()

    async def create_first_key(self) -> None:
        """Create the first key in the database, as `bootstrap-key` does, without another process."""
        database = open_database(self.database_uri)
        hasher = KeyHasher.from_files(self.directory / "pepper")
        made = await bootstrap_key(
            keys=KeyStore(database=database),
            audit=AuditLog(database=database, seal_keys=hasher.seal_keys, clock=wall_clock),
            hasher=hasher,
            clock=wall_clock,
            name="first",
            tier="enterprise",
        )
        await database.dispose()
        self.key, self.key_id, self.tenant = made.secret, made.key_id, made.tenant_id

    @property
    def client(self) -> httpx.AsyncClient:
        """An HTTP client of this test's loop."""
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=30)
        return self._client

    async def disconnect(self) -> None:
        """Close the test's connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def status(self, path: str) -> int:
        """The HTTP status of a path of the second port; 0 where nothing listens."""
        try:
            return (await self.client.get(f"http://127.0.0.1:{self.admin_http}{path}")).status_code
        except httpx.HTTPError:
            return 0

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = (await self.client.get(f"http://127.0.0.1:{self.admin_http}/metrics")).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.split(" ")[0].split("{")[0] == name)

    async def check(self, method: str, message: Message | bytes, key: str = "", **headers: str) -> httpx.Response:
        """Send a check of a gRPC call, as Envoy does; bytes are the body itself."""
        sent = {"content-type": "application/grpc", **({"authorization": f"Bearer {key}"} if key else {})}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = message if isinstance(message, bytes) else frame(message)
        return await self.client.post(f"http://127.0.0.1:{self.http}{method}", content=body, headers=sent)

    async def generate(
        self,
        key: str,
        *,
        model: str = "small",
        prompt: str = "hello",
        headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> httpx.Response:
        """Check a call of Generate; `fields` are the request's."""
        request = generation_pb2.GenerateRequest(
            model=model, messages=[generation_pb2.Message(role=generation_pb2.ROLE_USER, content=prompt)], **fields
        )
        return await self.check(GENERATE, request, key, **(headers or {}))

    async def openai(self, key: str, method: str, body: bytes | dict[str, object]) -> httpx.Response:
        """Check a call of TextService with a JSON body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = httpbody_pb2.HttpBody(content_type="application/json", data=data)
        return await self.check(f"/enginehouse.api.openai.v1.TextService/{method}", message, key)

    async def admin(self, key: str, method: str, request: Message) -> Any:
        """Call a method of AdminService through a check, as Envoy does, and return its response."""
        checked = await self.check(f"/enginehouse.api.router.v1.AdminService/{method}", request, key)
        if checked.status_code != 200:
            raise AssertionError(f"{method}: {checked.headers.get('grpc-message')}")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc}") as channel:
            call = getattr(admin_pb2_grpc.AdminServiceStub(channel), method)
            return await call(request, metadata=(("x-enginehouse-grant", checked.headers["x-enginehouse-grant"]),))


class RouterFactory:
    """Makes router processes on one database, which share the keys of grants."""

    def __init__(self, directory: Path, *, database_uri: str, gateway_port: int) -> None:
        self._directory = directory
        self._database_uri = database_uri
        self._gateway_port = gateway_port
        self._made: list[RouterProcess] = []

    def __call__(self, *, extra: str = "", database_uri: str = "", like: RouterProcess | None = None) -> RouterProcess:
        """Make a router that is not started yet; `extra` is more configuration, `like` has the grant keys to share."""
        number = len(self._made)
        directory = self._directory / f"router-{number}"
        directory.mkdir()
        like = like or (self._made[0] if self._made else None)
        if like is not None:
            (directory / "keys").write_bytes((like.directory / "keys").read_bytes())
        router = RouterProcess(
            directory,
            database_uri=database_uri or self._database_uri,
            gateway_port=self._gateway_port,
            extra=f"{extra}\n  engine_id: router-{number + 2}\n",
        )
        self._made.append(router)
        return router

    async def close(self) -> None:
        """Stop every router that was made."""
        for router in self._made:
            await router.disconnect()
        await asyncio.gather(*(asyncio.to_thread(router.stop) for router in self._made))
        for router in self._made:
            router.close()


@contextlib.contextmanager
def running_pair(
    directory: Path, *, database_uri: str, gateway_port: int
) -> Iterator[tuple[RouterProcess, RouterProcess]]:
    """Run two routers on one database, with its first key; they may not be ready yet."""
    factory = RouterFactory(directory, database_uri=database_uri, gateway_port=gateway_port)
    # Routers read again what others wrote, and evaluate experiments, as often as tests would like.
    extra = "  refresh: {every_s: 0.2}\n  experiments_every_s: 0.2"
    first, second = factory(extra=extra), factory(extra=extra)
    asyncio.run(first.create_first_key())
    second.key, second.key_id, second.tenant = first.key, first.key_id, first.tenant
    for router in (first, second):
        router.start()
    yield first, second
    for router in (first, second):
        assert router.stop() == 0
        router.close()


def frame(message: Message) -> bytes:
    """A gRPC message as it is sent."""
    data = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data
