"""Tags and policies in PostgreSQL, and in memory on every router."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from enginehouse.router.database import Changes
from enginehouse.router.database._listen import notify
from enginehouse.router.database.tables import api_keys, cache_policies, cache_tags

CACHE_CHANNEL = "enginehouse_cache"
"""The channel that carries each change, in the form that `CacheRules.changed` reads."""


@dataclasses.dataclass(frozen=True, slots=True)
class KeyPolicy:
    """A key's use of the cache: numbers of `CacheMode` and `CacheClass`, 0 for the installation's default."""

    key_id: str
    mode: int
    default_class: int
    semantic: bool
    semantic_threshold: float


@dataclasses.dataclass(frozen=True, slots=True)
class TagGeneration:
    """The number of times that a tag was invalidated. An empty tenant means all tenants, an empty tag every answer."""

    tenant_id: str
    tag: str
    generation: int


class CacheStore:
    """Reads and writes tags and policies; every router is notified of each change as it commits."""

    def __init__(self, *, database: AsyncEngine) -> None:
        self._database = database

    async def all(self) -> tuple[list[TagGeneration], list[KeyPolicy]]:
        """Return every tag and every policy."""
        async with self._database.connect() as connection:
            tags = await connection.execute(
                sa.select(cache_tags.c.tenant_id, cache_tags.c.tag, cache_tags.c.generation)
            )
            policies = await connection.execute(sa.select(*_POLICY_COLUMNS))
            return [TagGeneration(*row) for row in tags], [KeyPolicy(*row) for row in policies]

    async def invalidate(self, *, tenant_id: str, tag: str, now_ms: int) -> TagGeneration:
        """Increment a tag's generation."""
        statement = (
            insert(cache_tags)
            .values(tenant_id=tenant_id, tag=tag, generation=1, changed_at_ms=now_ms)
            .on_conflict_do_update(
                index_elements=["tenant_id", "tag"],
                set_={"generation": cache_tags.c.generation + 1, "changed_at_ms": now_ms},
            )
            .returning(cache_tags.c.generation)
        )
        async with self._database.begin() as connection:
            generation = (await connection.execute(statement)).scalar_one()
            changed = TagGeneration(tenant_id, tag, int(generation))
            await notify(connection, CACHE_CHANNEL, json.dumps({"tag": dataclasses.asdict(changed)}))
        return changed

    async def set_policy(self, policy: KeyPolicy, *, now_ms: int) -> bool:
        """Write a key's policy. Returns False if there is no such key."""
        values = dataclasses.asdict(policy) | {"changed_at_ms": now_ms}
        statement = insert(cache_policies).values(values).on_conflict_do_update(index_elements=["key_id"], set_=values)
        async with self._database.begin() as connection:
            known = await connection.execute(
                sa.select(api_keys.c.key_id).where(api_keys.c.key_id == policy.key_id).with_for_update(key_share=True)
            )
            if known.first() is None:
                return False
            await connection.execute(statement)
            await notify(connection, CACHE_CHANNEL, json.dumps({"policy": dataclasses.asdict(policy)}))
        return True

    async def list_policies(self, *, after: str, count: int) -> list[KeyPolicy]:
        """Return the policies of keys whose id comes after `after`, in the order of ids."""
        query = sa.select(*_POLICY_COLUMNS).where(cache_policies.c.key_id > after)
        async with self._database.connect() as connection:
            rows = await connection.execute(query.order_by(cache_policies.c.key_id).limit(count))
            return [KeyPolicy(*row) for row in rows]


class CacheRules:
    """The tags' generations and the keys' policies in memory.

    `reload` reads everything, and runs on every connection to PostgreSQL. `changed` applies one change.
    """

    def __init__(self, *, store: CacheStore) -> None:
        self._store = store
        self._generations: dict[tuple[str, str], int] = {}
        self._policies: dict[str, KeyPolicy] = {}
        self._changes = Changes()
        self.loaded = False
        """True once they have been read. Until then no answer is given, because it may have been invalidated."""

    async def reload(self) -> None:
        """Read everything again."""
        (tags, policies), changed = await self._changes.whole(self._store.all)
        for tag in tags:
            self.note(tag)
        kept = [policy for policy in self._policies.values() if policy.key_id in changed]
        fresh = [policy for policy in policies if policy.key_id not in changed]
        self._policies = {policy.key_id: policy for policy in (*fresh, *kept)}
        self.loaded = True

    def changed(self, payload: str) -> None:
        """Apply a change from `CACHE_CHANNEL`."""
        change = json.loads(payload)
        if "tag" in change:
            self.note(TagGeneration(**change["tag"]))
        if "policy" in change:
            self.put(KeyPolicy(**change["policy"]))

    def put(self, policy: KeyPolicy) -> None:
        """Apply a key's policy."""
        self._changes.note(policy.key_id)
        self._policies[policy.key_id] = policy

    def note(self, tag: TagGeneration) -> None:
        """Apply a tag's generation; an older one changes nothing."""
        known = self._generations.get((tag.tenant_id, tag.tag), 0)
        self._generations[tag.tenant_id, tag.tag] = max(known, tag.generation)

    def policy(self, key_id: str) -> KeyPolicy | None:
        """Return the key's own policy, if it has one."""
        return self._policies.get(key_id)

    def epochs(self, tenant_id: str, tags: Iterable[str]) -> bytes:
        """Return bytes that change whenever one of the tags, or everything, is invalidated.

        Equal sets of tags give equal bytes.
        """
        names = {""}
        for tag in tags:
            # Invalidating "collection:physics" invalidates "collection:physics@7" too.
            names |= {tag, tag.partition("@")[0]}
        lines = []
        for name in sorted(names):
            everywhere = self._generations.get(("", name), 0)
            here = self._generations.get((tenant_id, name), 0)
            lines.append(f"{name}\n{everywhere}\n{here}")
        return "\n".join(lines).encode()


_POLICY_COLUMNS = (
    cache_policies.c.key_id,
    cache_policies.c.mode,
    cache_policies.c.default_class,
    cache_policies.c.semantic,
    cache_policies.c.semantic_threshold,
)
