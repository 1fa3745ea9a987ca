"""Emotions as prosody."""

from __future__ import annotations

import pytest

from enginehouse.engines.voice.backends.base import Prosody
from enginehouse.engines.voice.text import Controls, Emotion, Say, plan_text
from engines.voice.tests.text.plans import says


def spoken(emotion: Emotion, prosody: Prosody | None = None, volume_db: float = 0.0) -> Say:
    controls = Controls(emotion=emotion, prosody=prosody or Prosody(), volume_db=volume_db)
    [say] = says(plan_text("Hello.", controls=controls).chunks)
    return say


def test_neutral_changes_nothing() -> None:
    say = spoken(Emotion.NEUTRAL, Prosody(speed=1.3, pitch=2, pitch_range=0.5), -3)
    assert say.utterance.prosody == Prosody(speed=1.3, pitch=2, pitch_range=0.5)
    assert say.volume_db == -3


@pytest.mark.parametrize(
    ("emotion", "faster", "higher", "livelier", "louder"),
    [
        (Emotion.HAPPY, True, True, True, True),
        (Emotion.EXCITED, True, True, True, True),
        (Emotion.SAD, False, False, False, False),
        (Emotion.TENDER, False, False, False, False),
        (Emotion.ANGRY, True, True, True, True),
        (Emotion.FEARFUL, True, True, False, False),
    ],
)
def test_directions(emotion: Emotion, faster: bool, higher: bool, livelier: bool, louder: bool) -> None:
    say = spoken(emotion)
    prosody = say.utterance.prosody
    assert (prosody.speed > 1) is faster
    assert (prosody.pitch > 0) is higher
    assert (prosody.pitch_range > 1) is livelier
    assert (say.volume_db > 0) is louder


def test_every_emotion_sounds_different() -> None:
    assert len({(say.utterance.prosody, say.volume_db) for say in map(spoken, Emotion)}) == len(Emotion)


def test_emotions_add_to_the_request_within_bounds() -> None:
    assert spoken(Emotion.HAPPY, Prosody(speed=2)).utterance.prosody.speed == pytest.approx(
        2 * spoken(Emotion.HAPPY).utterance.prosody.speed
    )
    loud = spoken(Emotion.ANGRY, Prosody(speed=4, pitch=12), 12)
    assert loud.utterance.prosody.speed == 4
    assert loud.utterance.prosody.pitch == 12
    assert loud.volume_db == 12
    slow = spoken(Emotion.SAD, Prosody(speed=0.25, pitch=-12), -40)
    assert slow.utterance.prosody.speed == 0.25
    assert slow.utterance.prosody.pitch == -12
    assert slow.volume_db == -40
