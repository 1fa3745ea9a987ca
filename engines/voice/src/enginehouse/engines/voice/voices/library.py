"""The voices of a caller: the models' own voices, and the cloned voices of its tenant."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol

import numpy as np

from enginehouse.api.router.v1.grant_pb2 import Grant
from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.backends.base import ClonedVoice, Gender, Samples, SpeakerInfo, VoiceInfo
from enginehouse.engines.voice.capabilities import known_as
from enginehouse.engines.voice.text import UnknownVoice
from enginehouse.engines.voice.validation import check_create_voice, check_list_voices
from enginehouse.engines.voice.voices.clones import (
    CLONE_PREFIX,
    SAMPLE_RATE,
    Clone,
    CloneStore,
    is_silent,
    new_voice_id,
)
from enginehouse.engines.voice.voices.names import VoiceNames, find_voice
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.languages import fold_tag, nearest_tag
from enginehouse.kit.validation import invalid, shorten

_DEFAULT_PAGE = 100
_MIN_S, _MAX_S = 3.0, 30.0
_GENDERS = {
    Gender.UNKNOWN: voice_pb2.GENDER_UNSPECIFIED,
    Gender.FEMALE: voice_pb2.GENDER_FEMALE,
    Gender.MALE: voice_pb2.GENDER_MALE,
    Gender.NEUTRAL: voice_pb2.GENDER_NEUTRAL,
}


class Owner(Protocol):
    """The owner of voices; the kit's `Call` implements it."""

    @property
    def tenant_id(self) -> str:
        """The tenant."""

    @property
    def grant(self) -> Grant:
        """The grant."""


class VoiceLibrary:
    """Lists, clones and deletes voices.

    Args:
        speakers: the properties of the synthesis models, by name.
        clones: the store of cloned voices.
        decode: decodes a recording to samples of `SAMPLE_RATE`.
        now_ms: returns the time, in milliseconds since 1970 UTC.
    """

    def __init__(
        self,
        *,
        speakers: Mapping[str, SpeakerInfo],
        clones: CloneStore,
        decode: Callable[[bytes], AsyncGenerator[Samples, None]],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._speakers = speakers
        self._clones = clones
        self._decode = decode
        self._now_ms = now_ms
        self._names = {model: VoiceNames(model=model, speaker=speaker) for model, speaker in speakers.items()}
        self._models: dict[str, list[str]] = {}
        self._own: list[VoiceInfo] = []
        for model, speaker in sorted(speakers.items()):
            for voice in speaker.voices:
                if voice.voice_id not in self._models:
                    self._own.append(voice)
                self._models.setdefault(voice.voice_id, []).append(model)
        self._own.sort(key=lambda voice: voice.voice_id)
        self._ids = [voice.voice_id for voice in self._own]

    def names(self, model: str) -> VoiceNames:
        """Return the names of a model's own voices."""
        return self._names[model]

    def find(self, name: str, *, model: str, tenant_id: str) -> str:
        """Return the id of the voice that a name means for a model, as `find_voice` does; a cloned voice of the tenant
        is named by its id. Raises UnknownVoice.
        """
        if not is_clone(name):
            return find_voice(name, model=model, models=self._names)
        try:
            return self.clone(name, model=model, tenant_id=tenant_id).voice_id
        except ServiceError as error:
            raise UnknownVoice(error.violations[0].description) from None

    def clone(self, voice_id: str, *, model: str, tenant_id: str) -> ClonedVoice:
        """Return a cloned voice of the tenant, for a model.

        Raises:
            ServiceError: INVALID_REQUEST naming `controls.voice`, for a voice that the tenant does not have or that was
                cloned for another model.
        """
        found = self._clones.get(tenant_id, voice_id)
        if found is None:
            raise invalid("controls.voice", f"there is no voice {shorten(voice_id)}; list them with ListVoices")
        if found.model != model:
            raise invalid(
                "controls.voice",
                f"{voice_id!r} was cloned for the model {found.model!r}, not for {model!r}; use that model",
            )
        return self._clones.sample(tenant_id, found)

    def list(self, request: voice_pb2.ListVoicesRequest, owner: Owner) -> voice_pb2.ListVoicesResponse:
        """Return a page of voices, sorted by id. Raises ServiceError."""
        check_list_voices(request)
        if request.model:
            self._check_model(request.model)
        size = request.page_size or _DEFAULT_PAGE
        language = self._listed_language(request, owner.tenant_id)
        response = voice_pb2.ListVoicesResponse()
        # The token is the last id of the preceding page: it stays valid when voices are added or deleted in between.
        for voice in self._voices_after(request, owner.tenant_id, language):
            if len(response.voices) == size:
                response.next_page_token = response.voices[-1].voice_id
                break
            response.voices.append(voice)
        return response

    async def create(self, request: voice_pb2.CreateVoiceRequest, owner: Owner) -> voice_pb2.Voice:
        """Clone a voice from a recording. Raises ServiceError."""
        check_create_voice(request)
        model = self._cloning_model(request.model)
        if known_as(request.language, self._speakers[model].languages) is None:
            known = ", ".join(sorted(self._speakers[model].languages))
            raise invalid("language", f"{request.language!r} is not supported by {model!r}, which speaks: {known}")
        samples = await self._read_sample(request.sample)
        clone = Clone(
            voice_id=new_voice_id(),
            name=request.name.strip(),
            model=model,
            language=request.language,
            gender=voice_pb2.Gender.Name(request.gender).removeprefix("GENDER_").lower(),
            description=request.description,
            created_at_ms=self._now_ms(),
            speaker=request.consent.speaker.strip(),
            statement=request.consent.statement.strip(),
            key_id=owner.grant.principal.key_id,
        )
        await asyncio.to_thread(self._clones.add, owner.tenant_id, clone, samples)
        return _of_clone(clone)

    def delete(self, request: voice_pb2.DeleteVoiceRequest, owner: Owner) -> None:
        """Delete a cloned voice of the tenant. Raises ServiceError."""
        if request.voice_id in self._models:
            raise ServiceError(
                Reason.FAILED_PRECONDITION, f"{request.voice_id!r} is a model's own voice and cannot be deleted"
            )
        if not self._clones.delete(owner.tenant_id, request.voice_id):
            raise ServiceError(
                Reason.NOT_FOUND,
                f"there is no voice {shorten(request.voice_id)} of your own; list them with ListVoices",
            )

    def _listed_language(self, request: voice_pb2.ListVoicesRequest, tenant_id: str) -> str:
        """Return the folded tag that a request asks for: "te-IN" lists the voices of "te", as none has a region."""
        wanted = fold_tag(request.language)
        models = [request.model] if request.model else self._names
        known = {tag for model in models for tag in self._names[model].tags}
        known |= {fold_tag(clone.language) for clone in self._clones.of(tenant_id)}
        if not wanted or any(_within(tag, wanted) for tag in known):
            return wanted
        return nearest_tag(wanted, known) or wanted

    def _voices_after(
        self, request: voice_pb2.ListVoicesRequest, tenant_id: str, language: str
    ) -> Iterator[voice_pb2.Voice]:
        token = request.page_token
        clones = [_of_clone(clone) for clone in self._clones.of(tenant_id) if clone.voice_id > token]
        # Both lists are sorted by id: this merges them.
        cursor = 0
        if not request.cloned:
            for number in range(bisect.bisect_right(self._ids, token) if token else 0, len(self._own)):
                own = self._own[number]
                while cursor < len(clones) and clones[cursor].voice_id < own.voice_id:
                    if _matches(clones[cursor], request, language):
                        yield clones[cursor]
                    cursor += 1
                if _matches_info(own, self._models[own.voice_id], request, language):
                    yield self._of_model(own)
        yield from (voice for voice in clones[cursor:] if _matches(voice, request, language))

    def _of_model(self, voice: VoiceInfo) -> voice_pb2.Voice:
        return voice_pb2.Voice(
            voice_id=voice.voice_id,
            name=voice.name,
            models=self._models[voice.voice_id],
            languages=voice.languages,
            gender=_GENDERS[voice.gender],
            style=voice.style,
        )

    def _check_model(self, model: str) -> None:
        if model not in self._speakers:
            known = ", ".join(sorted(self._speakers)) or "none"
            raise ServiceError(
                Reason.UNKNOWN_MODEL, f"model: no speech model {shorten(model)} on this engine; it has: {known}"
            )

    def _cloning_model(self, requested: str) -> str:
        able = [name for name, speaker in sorted(self._speakers.items()) if speaker.clones]
        if requested:
            self._check_model(requested)
        if not able or (requested and requested not in able):
            which = f"the model {requested!r}" if requested else "this engine"
            raise ServiceError(
                Reason.UNSUPPORTED_CAPABILITY,
                f"{which} cannot clone voices; "
                + (f"use one of: {', '.join(able)}" if able else "add an XTTS model to the catalog (docs/voice.md)"),
            )
        if not requested and len(able) > 1:
            raise invalid("model", f"must name one of {', '.join(able)}")
        return requested or able[0]

    async def _read_sample(self, data: bytes) -> Samples:
        pieces: list[Samples] = []
        length = 0
        async with aclosing(self._decode(data)) as decoded:
            async for piece in decoded:
                pieces.append(piece)
                length += len(piece)
                if length > _MAX_S * SAMPLE_RATE:
                    raise invalid("sample", f"lasts over {_MAX_S:g} s; send {_MIN_S:g} to {_MAX_S:g} s of speech")
        if length < _MIN_S * SAMPLE_RATE:
            raise invalid("sample", f"lasts {length / SAMPLE_RATE:.1f} s; send {_MIN_S:g} to {_MAX_S:g} s of speech")
        samples: Samples = np.concatenate(pieces)
        if is_silent(samples):
            raise invalid("sample", "is silent; send a recording of one speaker")
        return samples


def is_clone(voice_id: str) -> bool:
    """Return whether an id is that of a cloned voice."""
    return voice_id.startswith(CLONE_PREFIX)


def _of_clone(clone: Clone) -> voice_pb2.Voice:
    return voice_pb2.Voice(
        voice_id=clone.voice_id,
        name=clone.name,
        models=[clone.model],
        languages=[clone.language],
        gender=voice_pb2.Gender.Value(f"GENDER_{clone.gender.upper()}"),
        cloned=True,
        created_at_ms=clone.created_at_ms,
        description=clone.description,
    )


def _matches_info(voice: VoiceInfo, models: Sequence[str], request: voice_pb2.ListVoicesRequest, language: str) -> bool:
    """Return whether a model's voice matches, before its message is made: there are thousands of voices."""
    if request.model and request.model not in models:
        return False
    if request.gender and _GENDERS[voice.gender] != request.gender:
        return False
    if request.style and voice.style.lower() != request.style.lower():
        return False
    return not language or _speaks(voice.languages, language)


def _matches(voice: voice_pb2.Voice, request: voice_pb2.ListVoicesRequest, language: str) -> bool:
    if request.model and request.model not in voice.models:
        return False
    if request.gender and voice.gender != request.gender:
        return False
    if request.style and voice.style.lower() != request.style.lower():
        return False
    return not language or _speaks(voice.languages, language)


def _speaks(languages: Sequence[str], wanted: str) -> bool:
    return any(_within(fold_tag(tag), wanted) for tag in languages)


def _within(tag: str, wanted: str) -> bool:
    """Return whether a folded tag is another, or one of its regions or variants: "en-us" is within "en"."""
    return tag == wanted or tag.startswith(f"{wanted}-")
