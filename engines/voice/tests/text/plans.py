"""Plans in the forms that tests compare."""

from __future__ import annotations

from collections.abc import Iterable

from enginehouse.engines.voice.text import Chunk, Controls, Mark, Pause, Say, plan_ssml, plan_text


def says(chunks: Iterable[Chunk]) -> list[Say]:
    return [item for chunk in chunks for item in chunk.items if isinstance(item, Say)]


def texts(chunks: Iterable[Chunk]) -> list[str]:
    return [item.utterance.text for item in says(chunks)]


def script(chunks: Iterable[Chunk]) -> list[str | int]:
    """Return the texts, the milliseconds of silence, and marks as "#name"."""
    told: list[str | int] = []
    for chunk in chunks:
        for item in chunk.items:
            match item:
                case Say():
                    told.append(item.utterance.text)
                case Pause():
                    told.append(item.milliseconds)
                case Mark():
                    told.append(f"#{item.name}")
    return told


def said(text: str, controls: Controls | None = None) -> list[str]:
    return texts(plan_text(text, controls=controls or Controls()).chunks)


def ssml(inside: str, controls: Controls | None = None) -> list[str | int]:
    return script(plan_ssml(f"<speak>{inside}</speak>", controls=controls or Controls()).chunks)
