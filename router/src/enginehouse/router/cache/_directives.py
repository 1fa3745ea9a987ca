"""A request's use of the cache: its headers over its key's policy over the installation's settings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from enginehouse.api.router.v1 import cache_pb2
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.cache._settings import CLASSES, MODES, CacheSettings
from enginehouse.router.cache._store import KeyPolicy

USE_HEADER = b"x-enginehouse-cache"
CLASS_HEADER = b"x-enginehouse-cache-class"
TAGS_HEADER = b"x-enginehouse-cache-tags"

_USES = ("use", "refresh", "off")
_MAX_TAGS = 8
_TAG = re.compile(r"[\x21-\x2b\x2d-\x7e]{1,128}").fullmatch


@dataclasses.dataclass(frozen=True, slots=True)
class CacheDirectives:
    """A request's use of the cache.

    Attributes:
        deterministic_only: true if the cache is used only when the answer is the same each time.
        reads: true if a cached answer may be given.
        keep_ms: milliseconds that its own answer is kept.
        tags: the tags that invalidate its answer.
        semantic: the cosine from which the answer to another question may be given; 0 for never.
    """

    deterministic_only: bool
    reads: bool
    keep_ms: int
    tags: tuple[str, ...]
    semantic: float


class DirectiveParser:
    """Reads directives from headers; a request that does not use the cache costs a microsecond."""

    def __init__(self, *, settings: CacheSettings) -> None:
        self._settings = settings
        self._mode = MODES[settings.mode]
        self._class = CLASSES[settings.default_class]

    def parse(self, headers: Mapping[bytes, bytes], policy: KeyPolicy | None) -> CacheDirectives | None:
        """Return the request's directives, or None if it does not use the cache.

        Raises:
            ServiceError: INVALID_REQUEST for a header that cannot be read.
        """
        mode = policy.mode if policy is not None and policy.mode else self._mode
        asked = headers.get(USE_HEADER)
        if asked is None and mode in (cache_pb2.CACHE_MODE_ASKED, cache_pb2.CACHE_MODE_NEVER):
            return None
        use = "" if asked is None else _word(USE_HEADER, asked, _USES)
        named = headers.get(CLASS_HEADER)
        kind = CLASSES[_word(CLASS_HEADER, named, tuple(CLASSES))] if named is not None else 0
        tags = _tags(headers.get(TAGS_HEADER))
        if use == "off" or mode == cache_pb2.CACHE_MODE_NEVER:
            return None
        kind = kind or (policy.default_class if policy is not None else 0) or self._class
        keep_s = self._settings.keep_s(kind)
        if not keep_s:
            return None
        semantic = 0.0
        if policy is not None and policy.semantic:
            semantic = policy.semantic_threshold or self._settings.semantic_threshold
        return CacheDirectives(
            deterministic_only=not use and mode == cache_pb2.CACHE_MODE_DETERMINISTIC,
            reads=use != "refresh",
            keep_ms=int(keep_s * 1000),
            tags=tags,
            semantic=semantic,
        )


def check_tags(tags: list[str], *, field: str) -> tuple[str, ...]:
    """Return the tags, sorted, each once. Raises INVALID_REQUEST for a malformed tag, or too many tags."""
    if len(tags) > _MAX_TAGS:
        raise ServiceError(Reason.INVALID_REQUEST, f"{field}: {len(tags)} tags are too many; give at most {_MAX_TAGS}")
    for tag in tags:
        if not _TAG(tag):
            raise ServiceError(
                Reason.INVALID_REQUEST,
                f"{field}: invalid tag {tag[:64]!r}: write 1-128 printable ASCII characters without spaces and "
                "commas, such as collection:physics@7",
            )
    return tuple(sorted(set(tags)))


def _tags(given: bytes | None) -> tuple[str, ...]:
    if not given:
        return ()
    return check_tags([tag.strip() for tag in given.decode("latin-1").split(",")], field=TAGS_HEADER.decode())


def _word(header: bytes, given: bytes, known: tuple[str, ...]) -> str:
    word = given.decode("latin-1").strip().lower()
    if word not in known:
        raise ServiceError(
            Reason.INVALID_REQUEST, f"{header.decode()}: unknown value {word[:32]!r}; use one of {', '.join(known)}"
        )
    return word
