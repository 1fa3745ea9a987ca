"""Synthesize texts and SSML documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial

from enginehouse.api.voice.v1 import voice_pb2
from enginehouse.engines.voice.backends.base import Prosody, Speaker, SpeakerInfo
from enginehouse.engines.voice.capabilities import ServedVoiceModel, known_as, loaded_speaker, speaker_info
from enginehouse.engines.voice.synthesis.head_start import HeadStart
from enginehouse.engines.voice.synthesis.session import SynthesisOutput, SynthesisSession, check_supported_controls
from enginehouse.engines.voice.text import (
    Chunk,
    Controls,
    Emotion,
    Pause,
    Say,
    SpeechPlan,
    SsmlError,
    UnknownVoice,
    plan_ssml,
    plan_text,
    reads,
    script_mismatch,
)
from enginehouse.engines.voice.validation import check_plan_speech, check_synthesize
from enginehouse.engines.voice.voices.library import VoiceLibrary
from enginehouse.kit.calls import GrantedCall
from enginehouse.kit.validation import invalid, shorten

# Longer texts are planned in a thread: this many characters take some milliseconds.
_PLANNED_AT_ONCE = 2000

_EMOTIONS = {
    voice_pb2.EMOTION_HAPPY: Emotion.HAPPY,
    voice_pb2.EMOTION_SAD: Emotion.SAD,
    voice_pb2.EMOTION_ANGRY: Emotion.ANGRY,
    voice_pb2.EMOTION_EXCITED: Emotion.EXCITED,
    voice_pb2.EMOTION_TENDER: Emotion.TENDER,
    voice_pb2.EMOTION_FEARFUL: Emotion.FEARFUL,
}


class Synthesizer:
    """Synthesizes texts and SSML documents.

    Args:
        voices: the voices.
        pause: returns after so many seconds.
    """

    def __init__(self, *, voices: VoiceLibrary, pause: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        self._voices = voices
        self._pause = pause

    async def synthesize(
        self, request: voice_pb2.SynthesizeRequest, call: GrantedCall, served: ServedVoiceModel
    ) -> AsyncGenerator[voice_pb2.SynthesizeResponse, None]:
        """Yield the messages of one synthesis; the last one has a summary. Raises ServiceError.

        A file that begins with its length is held for a moment, which is enough for a short one to be whole. If it is
        not, it begins with the length unknown.
        """
        check_synthesize(request)
        info, model = speaker_info(served), served.catalog.name
        check_supported_controls(info, request.controls, model=model)
        plan = await self._plan(request, info, model, tenant_id=call.tenant_id)
        if request.first_chunk and request.first_chunk >= len(plan.chunks):
            raise invalid("first_chunk", f"{request.first_chunk} is past the text, which has {len(plan.chunks)} chunks")
        session = SynthesisSession(
            info=info,
            form=request.audio,
            live=False,
            clone_of=lambda voice: self._voices.clone(voice, model=model, tenant_id=call.tenant_id),
            call=call,
        )
        session.info.chunks = len(plan.chunks)
        messages = _Messages(voice_pb2.SynthesizeResponse(request_id=call.request_id, model=model, info=session.info))
        ending: bytes | None = None
        async with (
            served.hold() as loaded,
            aclosing(_speak(plan, session, first=request.first_chunk, speaker=loaded_speaker(loaded))) as speech,
            HeadStart(speech, pause=self._pause) as head_start,
        ):
            if session.states_length:
                # Nothing of it has been sent yet if it fails or the caller leaves.
                with call.meter.unsent():
                    whole = await head_start.is_whole()
                if whole:
                    ending = session.finish()
                    messages.header = session.final_header()
            async with aclosing(head_start.outputs()) as outputs:
                async for output in outputs:
                    message = messages.add(output)
                    if message is not None:
                        call.mark_first_output()
                        yield message
        last = messages.end(session.finish() if ending is None else ending)
        last.summary.CopyFrom(summary(call, session))
        yield last

    async def plan(
        self, request: voice_pb2.PlanSpeechRequest, call: GrantedCall, served: ServedVoiceModel
    ) -> voice_pb2.PlanSpeechResponse:
        """Return what would be spoken, without speaking it or loading the model. Raises ServiceError."""
        check_plan_speech(request)
        info, model = speaker_info(served), served.catalog.name
        check_supported_controls(info, request.controls, model=model)
        plan = await self._plan(request, info, model, tenant_id=call.tenant_id)
        return voice_pb2.PlanSpeechResponse(
            request_id=call.request_id, model=model, chunks=[_planned_chunk(chunk) for chunk in plan.chunks]
        )

    async def _plan(
        self,
        request: voice_pb2.SynthesizeRequest | voice_pb2.PlanSpeechRequest,
        speaker: SpeakerInfo,
        model: str,
        *,
        tenant_id: str,
    ) -> SpeechPlan:
        controls = text_controls(request.controls, speaker, voices=self._voices, model=model, tenant_id=tenant_id)
        field = request.WhichOneof("input") or "text"
        text = request.text if field == "text" else request.ssml
        plan = plan_text if field == "text" else plan_ssml
        try:
            if len(text) <= _PLANNED_AT_ONCE:
                made = plan(text, controls=controls)
            else:
                made = await asyncio.to_thread(plan, text, controls=controls)
        except SsmlError as error:
            raise invalid("ssml", f"line {error.line}, column {error.column}: {error.message}") from None
        if field == "text":
            _check_script(text, controls)
        if not any(chunk.items for chunk in made.chunks):
            raise invalid(field, "has nothing that can be spoken")
        _check_languages(made, speaker, model=model, field=field)
        return made


async def _speak(
    plan: SpeechPlan, session: SynthesisSession, *, first: int, speaker: Speaker
) -> AsyncGenerator[SynthesisOutput, None]:
    """Yield the audio of a plan's chunks from the first on, until no more can be reserved."""
    for number in range(first, len(plan.chunks)):
        async with aclosing(session.speak(number, plan.chunks[number], speaker=speaker)) as outputs:
            async for output in outputs:
                yield output
        if session.capped:
            return


class _Messages:
    """The messages of one synthesis: each but the last has audio.

    Args:
        first: the beginning of the first one.
    """

    def __init__(self, first: voice_pb2.SynthesizeResponse) -> None:
        self._open = first
        self.header = b""
        """Put over the beginning of the audio."""

    def add(self, output: SynthesisOutput) -> voice_pb2.SynthesizeResponse | None:
        """Add an output, and return the message that is complete with it, if any."""
        self._append(output.audio)
        if output.done is not None:
            self._open.done.append(output.done)
        if not self._open.audio:
            return None
        message, self._open = self._open, voice_pb2.SynthesizeResponse()
        return message

    def end(self, audio: bytes) -> voice_pb2.SynthesizeResponse:
        """Return the last message, with the rest of the audio."""
        self._append(audio)
        return self._open

    def _append(self, audio: bytes) -> None:
        if audio and self.header:
            # The encoder's first bytes have the whole header.
            audio, self.header = self.header + audio[len(self.header) :], b""
        self._open.audio += audio


def _planned_chunk(chunk: Chunk) -> voice_pb2.PlannedChunk:
    planned = voice_pb2.PlannedChunk(first_character=chunk.first_character, characters=chunk.characters)
    pause_ms = 0
    for item in chunk.items:
        if isinstance(item, Pause):
            pause_ms += item.milliseconds
        elif isinstance(item, Say):
            said = item.utterance
            planned.utterances.add(
                text=said.text, language=said.language, voice=said.voice, spelled=said.spell, pause_ms=pause_ms
            )
            pause_ms = 0
    planned.pause_ms = pause_ms
    return planned


def text_controls(
    controls: voice_pb2.SpeechControls, speaker: SpeakerInfo, *, voices: VoiceLibrary, model: str, tenant_id: str
) -> Controls:
    """Convert the controls for the planner. Raises INVALID_REQUEST for a language or a voice that the model lacks, and
    for a voice that cannot read the language.
    """
    find = partial(voices.find, model=model, tenant_id=tenant_id)
    known = voices.names(model).languages
    language = known_as(controls.language, speaker.languages) if controls.language else ""
    if language is None:
        spoken = ", ".join(sorted(speaker.languages))
        raise invalid(
            "controls.language", f"{shorten(controls.language)} is not supported by {model!r}, which speaks: {spoken}"
        )
    try:
        voice = find(controls.voice) if controls.voice else ""
    except UnknownVoice as error:
        raise invalid("controls.voice", str(error)) from None
    own = known.get(voice, ())
    if language and not reads(own, language):
        raise invalid(
            "controls.voice",
            f"{shorten(controls.voice)} speaks {' and '.join(own)}, not {controls.language!r}: name a voice of that "
            f"language, or leave the voice empty",
        )
    return Controls(
        voice=voice,
        language=language,
        voices=known,
        languages=speaker.languages,
        find_voice=find,
        prosody=Prosody(speed=controls.speed or 1.0, pitch=controls.pitch),
        volume_db=controls.volume_db,
        emotion=_EMOTIONS.get(controls.emotion, Emotion.NEUTRAL),
        lexicon=[(entry.word, entry.say) for entry in controls.lexicon],
        verbatim=controls.verbatim,
        max_length=min(300, speaker.max_text_length),
    )


def _check_languages(plan: SpeechPlan, speaker: SpeakerInfo, *, model: str, field: str) -> None:
    """Refuse a text with a part in a language that the model lacks before anything is spoken."""
    spoken = {item.utterance.language for chunk in plan.chunks for item in chunk.items if isinstance(item, Say)}
    for language in sorted(spoken):
        if known_as(language, speaker.languages) is None:
            known = ", ".join(sorted(speaker.languages))
            raise invalid(
                field,
                f"has a part in {language!r}, which is not supported by {model!r}; it speaks {known}: leave the part "
                f"out, or name a model that speaks it",
            )


def _check_script(text: str, controls: Controls) -> None:
    """Refuse a text mostly in letters that the requested language, or the requested voice's own, is not written in."""
    own = controls.voices.get(controls.voice, ())
    language = controls.language or (own[0] if own else "")
    wrong = script_mismatch(text, language) if language else None
    if wrong is not None:
        raise invalid("text", wrong)


def summary(call: GrantedCall, session: SynthesisSession) -> voice_pb2.SpeechSummary:
    """Return the summary at the end of a synthesis."""
    return voice_pb2.SpeechSummary(
        usage=call.meter.usage(),
        time_to_first_audio_ms=call.first_output_ms,
        total_ms=call.elapsed_ms(),
        audio_ms=session.audio_ms,
        stopped_by_budget=session.capped,
    )
