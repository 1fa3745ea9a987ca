"""Cloned voices on disk: one folder a voice, with its recording and its metadata."""

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
"""The prefix of every cloned voice's id, and of no model's own voice."""
SAMPLE_RATE = 24_000
"""The sample rate of stored recordings."""

_ID = re.compile(r"voc_[a-z2-7]{16}")
_MAX_PER_TENANT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Clone:
    """The metadata of a cloned voice."""

    voice_id: str
    name: str
    model: str
    language: str
    gender: str
    description: str
    created_at_ms: int
    speaker: str
    """The speaker of the recording."""
    statement: str
    """The speaker's statement of consent."""
    key_id: str
    """The API key that confirmed it."""


class CloneStore:
    """Store of voices by tenant. A voice is written atomically.

    Args:
        directory: the folder; created if needed, with access for its owner only.
    """

    def __init__(self, *, directory: Path) -> None:
        self._directory = directory

    def add(self, tenant_id: str, clone: Clone, samples: Samples) -> None:
        """Store a voice with its recording of `SAMPLE_RATE`.

        Raises:
            ServiceError: ALREADY_EXISTS for a name that the tenant has; FAILED_PRECONDITION for too many voices.
        """
        existing = self.of(tenant_id)
        if any(other.name == clone.name for other in existing):
            raise ServiceError(
                Reason.ALREADY_EXISTS, f"name: a voice called {clone.name!r} exists; choose another, or delete it"
            )
        if len(existing) >= _MAX_PER_TENANT:
            raise ServiceError(
                Reason.FAILED_PRECONDITION, f"too many voices: {len(existing)}, the maximum; delete some"
            )
        folder = self._folder(tenant_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
        try:
            with wave.open(str(staging / "sample.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(SAMPLE_RATE)
                file.writeframes(samples.astype("<i2").tobytes())
            (staging / "voice.json").write_text(json.dumps(asdict(clone), ensure_ascii=False), encoding="utf-8")
            for name in ("sample.wav", "voice.json"):
                _sync(staging / name)
            staging.rename(folder / clone.voice_id)
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _sync(folder)

    def of(self, tenant_id: str) -> Sequence[Clone]:
        """Return the tenant's voices, sorted by id."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._folder(tenant_id)) if _ID.fullmatch(entry.name))
        except FileNotFoundError:
            return []
        found = [self.get(tenant_id, name) for name in names]
        return [clone for clone in found if clone is not None]

    def get(self, tenant_id: str, voice_id: str) -> Clone | None:
        """Return a voice of the tenant; None if it has none of that id."""
        if not _ID.fullmatch(voice_id):
            return None
        try:
            text = (self._folder(tenant_id) / voice_id / "voice.json").read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Clone(**json.loads(text))

    def sample(self, tenant_id: str, clone: Clone) -> ClonedVoice:
        """Return the voice with its recording, for a model."""
        path = self._folder(tenant_id) / clone.voice_id / "sample.wav"
        return ClonedVoice(voice_id=clone.voice_id, language=clone.language, sample=path)

    def delete(self, tenant_id: str, voice_id: str) -> bool:
        """Delete a voice with its recording; return False if the tenant has none of that id."""
        if self.get(tenant_id, voice_id) is None:
            return False
        folder = self._folder(tenant_id)
        trash = folder / f".gone-{secrets.token_hex(8)}"
        try:
            # Atomic, so that nobody reads half of it.
            (folder / voice_id).rename(trash)
        except FileNotFoundError:
            return False
        shutil.rmtree(trash, ignore_errors=True)
        return True

    def _folder(self, tenant_id: str) -> Path:
        # Hashed, so that a tenant's id cannot be a path.
        return self._directory / hashlib.sha256(tenant_id.encode()).hexdigest()[:32]


def new_voice_id() -> str:
    """Return a new random id."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    return CLONE_PREFIX + "".join(secrets.choice(alphabet) for _ in range(16))


def is_silent(samples: Samples) -> bool:
    """Return whether a recording is silent: its loudest part is under -50 dBFS."""
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
