"""The voices that tenants made, on disk: one folder a voice, with its recording and what is known of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import wave
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from enginehouse.engines.voice.backends.base import ClonedVoice, Samples
from enginehouse.kit.errors import Reason, ServiceError

CLONE_PREFIX = "voc_"
"""What every made voice's id begins with, and no model's own voice."""
SAMPLE_RATE = 24_000
"""Samples a second of the recordings that are kept."""

_ID = re.compile(r"voc_[a-z2-7]{16}")
_MAX_PER_TENANT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """A voice that a tenant made."""

    voice_id: str
    name: str
    model: str
    language: str
    gender: str
    description: str
    created_at_ms: int
    speaker: str
    """Who speaks in the recording."""
    statement: str
    """What the speaker agreed to."""
    key_id: str
    """The key that confirmed it."""


class CloneStore:
    """Keeps voices by tenant. A voice is there whole or not at all, whatever happens while it is written.

    Args:
        directory: where; made if need be, for its owner alone.
    """

    def __init__(self, *, directory: Path) -> None:
        self._directory = directory

    def add(self, tenant_id: str, clone: Clone, samples: Samples) -> None:
        """Keep a voice with its recording of `SAMPLE_RATE`.

        Raises:
            ServiceError: ALREADY_EXISTS for a name that the tenant has; FAILED_PRECONDITION for too many voices.
        """
        there = self.of(tenant_id)
        if any(one.name == clone.name for one in there):
            raise ServiceError(
                Reason.ALREADY_EXISTS, f"name: a voice called {clone.name!r} exists; choose another, or delete it"
            )
        if len(there) >= _MAX_PER_TENANT:
            raise ServiceError(
                Reason.FAILED_PRECONDITION, f"there are {len(there)} voices already, all that are kept; delete some"
            )
        home = self._home(tenant_id)
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=home))
        try:
            with wave.open(str(making / "sample.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(SAMPLE_RATE)
                file.writeframes(samples.astype("<i2").tobytes())
            (making / "voice.json").write_text(json.dumps(asdict(clone), ensure_ascii=False), encoding="utf-8")
            for name in ("sample.wav", "voice.json"):
                _sync(making / name)
            making.rename(home / clone.voice_id)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        _sync(home)

    def of(self, tenant_id: str) -> Sequence[Clone]:
        """The tenant's voices, by id."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._home(tenant_id)) if _ID.fullmatch(entry.name))
        except FileNotFoundError:
            return []
        found = [self.get(tenant_id, name) for name in names]
        return [clone for clone in found if clone is not None]

    def get(self, tenant_id: str, voice_id: str) -> Clone | None:
        """A voice of the tenant's; None where it has none of that id."""
        if not _ID.fullmatch(voice_id):
            return None
        try:
            text = (self._home(tenant_id) / voice_id / "voice.json").read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Clone(**json.loads(text))

    def sample(self, tenant_id: str, clone: Clone) -> ClonedVoice:
        """What a model needs to speak with the voice."""
        path = self._home(tenant_id) / clone.voice_id / "sample.wav"
        return ClonedVoice(voice_id=clone.voice_id, language=clone.language, sample=path)

    def delete(self, tenant_id: str, voice_id: str) -> bool:
        """Delete a voice with its recording; False where the tenant has none of that id."""
        if self.get(tenant_id, voice_id) is None:
            return False
        home = self._home(tenant_id)
        gone = home / f".gone-{secrets.token_hex(8)}"
        try:
            # One step, so that nobody finds half of it.
            (home / voice_id).rename(gone)
        except FileNotFoundError:
            return False
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def _home(self, tenant_id: str) -> Path:
        # Whatever a tenant's id holds, it is no path.
        return self._directory / hashlib.sha256(tenant_id.encode()).hexdigest()[:32]


def new_voice_id() -> str:
    """An id that no voice has."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    return CLONE_PREFIX + "".join(secrets.choice(alphabet) for _ in range(16))


def is_silent(samples: Samples) -> bool:
    """Return whether nobody can be heard in a recording: its loudest part is under -50 dB of full scale."""
    if not len(samples):
        return True
    window = SAMPLE_RATE // 10
    squares = np.square(samples[: len(samples) // window * window].astype(np.float64)).reshape(-1, window)
    return not len(squares) or float(np.sqrt(squares.mean(axis=1).max())) < 32768 * 10 ** (-50 / 20)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
