"""A router ends in order whatever became of its parts: what it leased of budgets goes back."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.kit.catalog import load_catalog
from enginehouse.kit.grants import GrantKeys
from enginehouse.router.app import RouterService
from enginehouse.router.cache._hits import HitRecorder
from enginehouse.router.database import open_database
from enginehouse.router.decision.refresh import StateRefresher
from enginehouse.router.fleet.fleet import FleetWatch
from enginehouse.router.identity import KeyHasher
from enginehouse.router.ledger import Ledger
from enginehouse.router.settings import RouterSettings
from router.tests.harness.waiting import wait_for

_CATALOG = """
models:
  - name: small
    cluster: inference
    backend: llama.cpp
    source: bundled:small.gguf
    context_tokens: 4096
    max_output_tokens: 256
    capabilities: [chat, completion]
    quality: 0.2
    prices: {input_tokens: 50000000, output_tokens: 200000000}
"""


async def _states(database: AsyncEngine) -> list[str]:
    async with database.connect() as connection:
        rows = await connection.execute(sa.text("SELECT state FROM replicas"))
        return list(rows.scalars())


async def _fail(_: object) -> None:
    raise RuntimeError("a defect")


@pytest.mark.parametrize(
    ("part", "method"),
    [
        # A background task, steps of others' ends, and a step of the ledger's own.
        (FleetWatch, "_run"),
        (HitRecorder, "close"),
        (StateRefresher, "close"),
        (Ledger, "flush_journal"),
    ],
)
async def test_a_part_that_fails_does_not_keep_the_ledger_from_giving_back_its_leases(
    tmp_path: Path,
    database: AsyncEngine,
    database_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    part: type[Any],
    method: str,
) -> None:
    monkeypatch.setattr(part, method, _fail)
    GrantKeys.generate(tmp_path / "keys")
    (tmp_path / "catalog.yaml").write_text(_CATALOG)
    settings = RouterSettings(
        http_listen="127.0.0.1:0",
        grpc_listen="127.0.0.1:0",
        admin_http_listen="127.0.0.1:0",
        database_url=database_uri,
        grant_keys_file=tmp_path / "keys",
        key_pepper_file=tmp_path / "pepper",
        catalog_file=tmp_path / "catalog.yaml",
    )
    service = RouterService(
        settings=settings,
        database=open_database(database_uri),
        catalog=load_catalog(settings.catalog_file),
        grant_keys=GrantKeys.load(settings.grant_keys_file),
        hasher=KeyHasher(pepper=b"p" * 32),
        tracing=None,
    )
    await service.start()
    await wait_for(lambda: service.ready)
    assert await _states(database) == ["live"]
    # The last failure may be told once every part has ended.
    with contextlib.suppress(RuntimeError):
        await asyncio.wait_for(service.close(), 30)
    assert await _states(database) == ["dead"]
