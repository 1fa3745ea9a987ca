"""The usage spool: accepted grants and what they spent, kept on disk until a router has settled them.

Protocol, one record each, appended to segments in order:

- *accept* before work starts: the grant, the model, and the slot of the counters that the call's meter writes.
- *switch* when another model of the grant takes over, before it starts.
- *extend* when a router has reserved more for it: the grant with the higher cap, before more is spent.
- *final* when the call ends, for any reason: outcome, amounts and cost.
- *settled* when a router has acknowledged it.

An accept without a final, found at start, is a call during which the process died: it becomes a final with
OUTCOME_CRASHED and the amounts in its slot. Segments are deleted, oldest first, once all their grants are settled and
could no longer be accepted again; so a restart within a grant's accept window still knows that the grant was used.
"""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from enginehouse.api.router.v1 import usage_pb2
from enginehouse.api.router.v1.grant_pb2 import Grant
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.grants import peek
from enginehouse.kit.pricing import Unit, cost_nanos, prices_of, put_usage, to_usage
from enginehouse.kit.usage._counters import FIRST_OUTPUT, CounterFile
from enginehouse.kit.usage._segments import SUFFIX, SegmentWriter, SpoolError, framed, read_segment
from enginehouse.kit.usage.meter import COUNTERS, Meter, counted, named_counters

_log = logging.getLogger(__name__)

_ACCEPT = struct.Struct("<BQIqqqH")
_FINAL = struct.Struct("<BQBqiqB")
_AMOUNT = struct.Struct("<Bq")
_SETTLED = struct.Struct("<BQ")
_SWITCH = struct.Struct("<BQH")
_FINAL_BYTES = 8 + _FINAL.size + COUNTERS * _AMOUNT.size
_EXTEND = struct.Struct("<BQ")
_TYPE_ACCEPT, _TYPE_FINAL, _TYPE_SETTLED, _TYPE_SWITCH, _TYPE_EXTEND = 1, 2, 3, 4, 5
_INT32_MAX = 2**31 - 1


@dataclasses.dataclass(slots=True)
class _Segment:
    path: Path
    size: int
    unsettled: int = 0
    usable_until_ms: int = 0


@dataclasses.dataclass(slots=True)
class Accepted:
    """A grant that is being spent.

    Attributes:
        reference: its number in this spool, never used twice.
        token: the grant as it came, or as it was extended last.
        model: the model that serves it; empty if none does.
        started_at_ms: the time of acceptance, in milliseconds since 1970 UTC.
        counters: the counters of its meter, by unit.
    """

    reference: int
    token: str
    model: str
    started_at_ms: int
    counters: memoryview
    slot: int


class Spool:
    """A directory of one engine's accepted grants and unsettled usage. One process may have it open.

    Args:
        directory: created if absent; its parent must exist.
        engine_id: this engine, stable across its restarts.
        accept_window_s: seconds after its issue that a grant may be accepted; the router's own window must not be
            longer. It bounds how long used grants are remembered, and the watermark depends on it.
        segment_bytes: the size of a segment file.
        max_bytes: the bound on all segments together; beyond it, new work is refused.
        now_ms: the clock, milliseconds since 1970 UTC.

    Raises:
        SpoolError: another process holds the directory, or it cannot be read or written.
    """

    def __init__(
        self,
        *,
        directory: Path,
        engine_id: str,
        accept_window_s: float = 30.0,
        segment_bytes: int = 1 << 20,
        max_bytes: int = 256 << 20,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._directory = directory
        self._engine_id = engine_id
        self._window_ms = round(accept_window_s * 1000)
        self._segment_bytes = segment_bytes
        self._max_bytes = max_bytes
        self._now_ms = now_ms
        self._lock = _lock(directory)
        self._segments: deque[_Segment] = deque()
        self._writer: SegmentWriter | None = None
        self._next_segment = 1
        self._next_reference = 1
        self._open: dict[int, Accepted] = {}
        self._unsettled: dict[int, tuple[int, _Segment]] = {}
        self._pending: dict[int, bytes] = {}
        self._used_grants: set[str] = set()
        self._used_order: deque[tuple[int, str]] = deque()
        self._dirty = False
        # Full segments, until the next sync; and the lock between a sync in its thread and `close`.
        self._retired: deque[SegmentWriter] = deque()
        self._syncing = threading.Lock()
        self._on_pending: Callable[[], None] | None = None
        self.recovered = 0
        """The number of calls during which the previous process died, as found at start."""
        try:
            self._counters = CounterFile(directory)
            self._replay()
        except OSError as error:
            os.close(self._lock)
            raise SpoolError(f"spool directory {directory}: {error.strerror}; free space or fix permissions") from error
        except SpoolError:
            os.close(self._lock)
            raise

    @property
    def engine_id(self) -> str:
        """The engine whose spool it is."""
        return self._engine_id

    @property
    def open_calls(self) -> int:
        """The number of accepted grants that are being spent."""
        return len(self._open)

    @property
    def pending(self) -> dict[int, bytes]:
        """Serialised `UsageRecord`s that no router has acknowledged, by reference. Do not modify."""
        return self._pending

    def on_pending(self, wake: Callable[[], None]) -> None:
        """Call `wake` whenever a record becomes pending."""
        self._on_pending = wake

    def watermark_ms(self) -> int:
        """Return the time such that no usage will be reported for grants issued before it: the earlier of the issue
        time
        of the oldest grant that is being spent or not yet settled, and now less the accept window."""
        # A grant that was issued before the unsettled ones may still arrive, within the accept window.
        horizon = self._now_ms() - self._window_ms
        return min(horizon, min((issued for issued, _ in self._unsettled.values()), default=horizon))

    def accept(self, grant: Grant, *, token: str, model: str) -> Accepted:
        """Record a grant's acceptance; only then may work on it start.

        Raises:
            ServiceError: GRANT_REPLAYED if it was used before; GRANT_EXPIRED if it is older than the accept window;
                LEDGER_UNAVAILABLE if nothing can be recorded, because the disk or the spool's share of it is full.
        """
        if grant.grant_id in self._used_grants:
            raise ServiceError(
                Reason.GRANT_REPLAYED, f"grant {grant.grant_id!r} was already used on this engine; send a new request"
            )
        started = self._now_ms()
        if grant.issued_at_ms < started - self._window_ms:
            raise ServiceError(
                Reason.GRANT_EXPIRED,
                f"the grant was issued {(started - grant.issued_at_ms) / 1000:.3f} s ago; this engine accepts none "
                f"older than {self._window_ms / 1000:g} s",
            )
        usable_until = min(grant.accept_by_ms, grant.issued_at_ms + self._window_ms)
        reference = self._next_reference
        try:
            slot, counters = self._counters.take(reference)
        except OSError as error:
            raise self.full(error) from error
        name = model.encode()
        record = framed(
            _ACCEPT.pack(_TYPE_ACCEPT, reference, slot, started, usable_until, grant.issued_at_ms, len(name))
            + name
            + token.encode("ascii")
        )
        try:
            self._make_room(len(record) + _FINAL_BYTES)
            self._append(record)
        except OSError as error:
            self._counters.give_back(slot)
            raise self.full(error) from error
        self._next_reference += 1
        accepted = Accepted(reference, token, model, started, counters, slot)
        self._open[reference] = accepted
        self._note_accepted(reference, grant.grant_id, grant.issued_at_ms, usable_until, self._segments[-1])
        return accepted

    def switch(self, accepted: Accepted, *, model: str) -> None:
        """Record that another of the grant's models serves from now on; nothing may have been counted yet.

        Raises:
            OSError: the disk or the spool's share of it is full; nothing has changed.
        """
        name = model.encode()
        record = framed(_SWITCH.pack(_TYPE_SWITCH, accepted.reference, len(name)) + name)
        self._make_room(len(record))
        self._append(record)
        accepted.model = model

    def extend(self, accepted: Accepted, *, token: str) -> None:
        """Record the grant with a higher cap, which may be spent from now on.

        Raises:
            OSError: the disk or the spool's share of it is full; nothing has changed.
        """
        record = framed(_EXTEND.pack(_TYPE_EXTEND, accepted.reference) + token.encode("ascii"))
        self._make_room(len(record))
        self._append(record)
        accepted.token = token

    def finish(
        self, accepted: Accepted, *, meter: Meter, outcome: usage_pb2.Outcome.ValueType, first_output_ms: int
    ) -> Mapping[Unit, int]:
        """Record the end of an accepted grant and pass it to the reporter; return what it counted.

        If the disk fails, the record is still reported from memory, and the loss of the copy is logged.
        """
        del self._open[accepted.reference]
        amounts = meter.amounts
        self._finish(
            accepted,
            engine_id=self._engine_id,
            amounts=amounts,
            named=meter.named,
            cost=meter.cost_nanos,
            outcome=outcome,
            first_output_ms=first_output_ms,
        )
        self._counters.give_back(accepted.slot)
        return amounts

    def settled(self, references: Iterable[int]) -> None:
        """Forget the records of those references, which a router has settled or rejected for good."""
        records = []
        for reference in references:
            if self._pending.pop(reference, None) is None:
                continue
            _, segment = self._unsettled.pop(reference)
            segment.unsettled -= 1
            records.append(framed(_SETTLED.pack(_TYPE_SETTLED, reference)))
        if not records:
            return
        # All in one write.
        written = b"".join(records)
        try:
            self._make_room(len(written))
            self._append(written)
        except OSError as error:
            # Harmless: after a restart they are reported again, and the router knows them already.
            _log.warning("cannot record a settlement in the spool: %s", error)
        self.sweep()

    def sweep(self) -> None:
        """Forget used grants that could no longer be accepted, and delete segments that are not needed any more."""
        now = self._now_ms()
        while self._used_order and self._used_order[0][0] < now:
            self._used_grants.discard(self._used_order.popleft()[1])
        while len(self._segments) > 1 or (self._segments and self._writer is None):
            oldest = self._segments[0]
            if oldest.unsettled or oldest.usable_until_ms >= now:
                return
            oldest.path.unlink(missing_ok=True)
            self._segments.popleft()

    @property
    def unsynced(self) -> bool:
        """True if records were written since the last sync."""
        return self._dirty

    def sync(self) -> None:
        """Sync all records to the disk; this blocks, so call it off the loop."""
        with self._syncing:
            if not self._dirty or self._lock < 0:
                return
            self._dirty = False
            writer = self._writer
            while self._retired:
                retired = self._retired.popleft()
                retired.sync()
                retired.close()
            if writer is not None:
                writer.sync()
            self._counters.sync()

    def close(self) -> None:
        """Close the files and unlock the directory for another process. Calls that are still open count as crashed."""
        self.sync()
        with self._syncing:
            if self._lock < 0:
                return
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self.sweep()
            self._counters.close()
            os.close(self._lock)
            self._lock = -1

    def _finish(
        self,
        accepted: Accepted,
        *,
        engine_id: str,
        amounts: dict[Unit, int],
        named: Mapping[str, int],
        cost: int,
        outcome: usage_pb2.Outcome.ValueType,
        first_output_ms: int,
    ) -> None:
        ended = max(self._now_ms(), accepted.started_at_ms)
        first_output_ms = max(0, min(first_output_ms, _INT32_MAX))
        payload = _FINAL.pack(_TYPE_FINAL, accepted.reference, outcome, ended, first_output_ms, cost, len(amounts))
        for unit, amount in amounts.items():
            # A unit that only has a name is recorded as its counter, whose name follows from the grant.
            payload += _AMOUNT.pack(named[unit] if isinstance(unit, str) else unit, amount)
        try:
            # Its room was reserved when the grant was accepted.
            self._append(framed(payload))
        except OSError as error:
            _log.error("cannot spool usage; it is kept in memory until it is reported: %s", error)
        record = usage_pb2.UsageRecord(
            grant=accepted.token,
            engine_id=engine_id,
            model=accepted.model,
            outcome=outcome,
            started_at_ms=accepted.started_at_ms,
            ended_at_ms=ended,
            time_to_first_token_ms=first_output_ms,
        )
        put_usage(record.usage, amounts, cost=cost)
        self._pending[accepted.reference] = record.SerializeToString()
        if self._on_pending is not None:
            self._on_pending()

    def _append(self, record: bytes) -> None:
        if self._writer is None:
            raise OSError(28, "no segment is open")
        self._writer.append(record)
        self._dirty = True

    def _make_room(self, needed: int, *, beyond_limit: bool = False) -> None:
        """Open another segment unless `needed` bytes fit beside the finals of all open calls."""
        kept = len(self._open) * _FINAL_BYTES
        if self._writer is not None and self._writer.free >= needed + kept:
            return
        size = max(self._segment_bytes, 2 * (needed + kept) + 4096)
        if not beyond_limit and sum(segment.size for segment in self._segments) + size > self._max_bytes:
            self.sweep()
            total = sum(segment.size for segment in self._segments)
            if total + size > self._max_bytes:
                raise OSError(28, f"{total} bytes of usage await a router, and the spool may take {self._max_bytes}")
        path = self._directory / f"{self._next_segment:012d}{SUFFIX}"
        writer = SegmentWriter(path=path, engine_id=self._engine_id, size=size)
        self._next_segment += 1
        if self._writer is not None:
            self._segments[-1].size = self._writer.size - self._writer.free
            self._retired.append(self._writer)
        self._writer = writer
        self._segments.append(_Segment(path, size))

    def _note_accepted(
        self, reference: int, grant_id: str, issued_at_ms: int, usable_until_ms: int, segment: _Segment
    ) -> None:
        self._unsettled[reference] = (issued_at_ms, segment)
        segment.unsettled += 1
        segment.usable_until_ms = max(segment.usable_until_ms, usable_until_ms)
        self._used_grants.add(grant_id)
        self._used_order.append((usable_until_ms, grant_id))

    def full(self, error: OSError) -> ServiceError:
        """Return the error for a call that cannot be recorded, and log why."""
        _log.error("cannot record usage in %s, refusing work: %s", self._directory, error)
        return ServiceError(
            Reason.LEDGER_UNAVAILABLE,
            "the engine's usage spool is full, so it accepts no request; retry, on another engine if there is one",
            retry_after_s=1.0,
        )

    def _replay(self) -> None:
        finals: dict[int, bytes] = {}
        settled: set[int] = set()
        switched: dict[int, str] = {}
        extended: dict[int, str] = {}
        accepts: list[tuple[int, str, _Segment, bytes]] = []
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            self._next_segment = max(self._next_segment, int(path.stem) + 1)
            contents = read_segment(path)
            if contents is None:
                path.unlink()
                continue
            engine_id, records = contents
            segment = _Segment(path, path.stat().st_size)
            self._segments.append(segment)
            for record in records:
                kind, reference = _SETTLED.unpack_from(record)
                self._next_reference = max(self._next_reference, reference + 1)
                if kind == _TYPE_ACCEPT:
                    accepts.append((reference, engine_id, segment, record))
                elif kind == _TYPE_FINAL:
                    finals[reference] = record
                elif kind == _TYPE_SWITCH:
                    switched[reference] = record[_SWITCH.size :].decode()
                elif kind == _TYPE_EXTEND:
                    extended[reference] = record[_EXTEND.size :].decode("ascii")
                else:
                    settled.add(reference)
        for reference, engine_id, segment, record in accepts:
            self._recover(
                reference,
                engine_id,
                segment,
                record,
                finals.get(reference),
                switched_to=switched.get(reference),
                extended_to=extended.get(reference),
                settled=reference in settled,
            )
        self.sweep()

    def _recover(
        self,
        reference: int,
        engine_id: str,
        segment: _Segment,
        record: bytes,
        final: bytes | None,
        *,
        switched_to: str | None,
        extended_to: str | None,
        settled: bool,
    ) -> None:
        _, _, slot, started, usable_until, issued, length = _ACCEPT.unpack_from(record)
        model = record[_ACCEPT.size : _ACCEPT.size + length].decode() if switched_to is None else switched_to
        token = extended_to or record[_ACCEPT.size + length :].decode("ascii")
        grant = peek(token)
        self._note_accepted(reference, grant.grant_id, issued, usable_until, segment)
        if settled:
            del self._unsettled[reference]
            segment.unsettled -= 1
            return
        accepted = Accepted(reference, token, model, started, memoryview(b""), slot)
        prices: dict[Unit, int] = {}
        for candidate in grant.candidates:
            if candidate.model == model:
                prices = prices_of(candidate.prices)
                break
        named = named_counters(prices)
        if final is not None:
            _, _, outcome, ended, first_output, cost, count = _FINAL.unpack_from(final)
            amounts = dict(_amounts(final, count, named))
            self._pending[reference] = usage_pb2.UsageRecord(
                grant=token,
                engine_id=engine_id,
                model=model,
                usage=to_usage(amounts, cost=cost),
                outcome=outcome,
                started_at_ms=started,
                ended_at_ms=ended,
                time_to_first_token_ms=first_output,
            ).SerializeToString()
            return
        words = self._counters.read(slot, reference)
        amounts = {} if words is None else counted(words, named)
        self.recovered += 1
        self._make_room(_FINAL_BYTES, beyond_limit=True)
        self._finish(
            accepted,
            engine_id=engine_id,
            amounts=amounts,
            named=named,
            cost=cost_nanos(prices, amounts),
            outcome=usage_pb2.OUTCOME_CRASHED,
            first_output_ms=words[FIRST_OUTPUT] if words is not None else 0,
        )


def _amounts(final: bytes, count: int, named: Mapping[str, int]) -> Iterator[tuple[Unit, int]]:
    names = {place: name for name, place in named.items()}
    for index in range(count):
        place, amount = _AMOUNT.unpack_from(final, _FINAL.size + index * _AMOUNT.size)
        yield names.get(place, place), amount


def _lock(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolError(
            f"spool directory {directory}: {error.strerror}; name a directory that can be written"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise SpoolError(
            f"spool directory {directory} is in use by process {holder}; stop it, or give this engine a "
            "directory of its own"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
