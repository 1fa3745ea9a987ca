"""The language and the voice of each part of a text."""

from __future__ import annotations

import pytest

from enginehouse.engines.voice.text import (
    Controls,
    detect_language,
    plan_text,
    script_mismatch,
    scripts_of,
    written_in,
)
from engines.voice.tests.text.plans import says

TELUGU = "నేను హైదరాబాద్ వెళ్ళాను"


def tongues(text: str, controls: Controls | None = None) -> list[tuple[str, str, str]]:
    """Return the texts with their languages and voices."""
    spoken = says(plan_text(text, controls=controls or Controls()).chunks)
    return [(say.utterance.text, say.utterance.language, say.utterance.voice) for say in spoken]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello", "en"),
        ("తెలుగు", "te"),
        ("हिन्दी", "hi"),
        ("தமிழ்", "ta"),
        ("ಕನ್ನಡ", "kn"),
        ("മലയാളം", "ml"),
        ("বাংলা", "bn"),
        ("ગુજરાતી", "gu"),
        ("ਪੰਜਾਬੀ", "pa"),
        ("ଓଡ଼ିଆ", "or"),
        ("العربية", "ar"),
        ("עברית", "he"),
        ("Русский", "ru"),
        ("Ελληνικά", "el"),
        ("한국어", "ko"),
        ("日本の言葉", "ja"),
        ("カタカナ", "ja"),
        ("中文", "zh"),
        ("ไทย", "th"),
        ("123 !", "en"),
        ("", "en"),
        ("౧౨౩", "te"),
        ("I said నమస్తే to everybody", "en"),
        ("నేను OK అన్నాను", "te"),
    ],
)
def test_detection_by_script(text: str, language: str) -> None:
    assert detect_language(text) == language


def test_latin_letters_are_of_the_default_language() -> None:
    assert detect_language("Bonjour", default="fr") == "fr"
    assert detect_language("తెలుగు", default="fr") == "te"


def test_scripts_are_counted() -> None:
    assert scripts_of("abc తెలు 12 漢") == {"Telugu": 4, "Latin": 3, "Han": 1}
    assert scripts_of("12 !") == {}


def test_scripts_of_languages() -> None:
    assert written_in("en-IN") == {"Latin"}
    assert written_in("te") == {"Telugu"}
    assert written_in("ja-JP") == {"Kana", "Han"}
    assert written_in("mr") == {"Devanagari"}
    assert written_in("sr") == {"Cyrillic", "Latin"}
    assert written_in("sr-Latn-RS") == {"Latin"}
    assert written_in("xx") == frozenset()


def test_wrong_scripts() -> None:
    problem = script_mismatch(TELUGU, "en-US")
    assert problem is not None
    assert "'en-US' is written in Latin letters, the text mostly in Telugu ones: use 'te'" in problem
    assert script_mismatch("हिन्दी", "te") is not None
    assert script_mismatch(TELUGU, "te-IN") is None
    assert script_mismatch("Hello", "te") is None
    assert script_mismatch("The word నమస్తే means hello", "en") is None
    assert script_mismatch(TELUGU, "xx") is None
    assert script_mismatch("123", "te") is None


def test_each_sentence_has_its_own_language() -> None:
    assert tongues(f"Hello there. {TELUGU}. यह है।") == [
        ("Hello there.", "en", ""),
        (f"{TELUGU}.", "te", ""),
        ("यह है।", "hi", ""),
    ]


def test_figures_without_letters_follow_the_preceding_sentence() -> None:
    assert tongues("5! ఐదు. 5!") == [("five!", "en", ""), ("ఐదు.", "te", ""), ("ఐదు!", "te", "")]


def test_a_few_latin_words_are_left_to_the_voice_of_the_sentence() -> None:
    assert tongues("నేను New York City వెళ్ళాను") == [("నేను New York City వెళ్ళాను", "te", "")]


def test_many_latin_words_are_said_in_their_own_language() -> None:
    assert tongues("అతను నిన్న సాయంత్రం 'The quick brown fox 2 jumps!' అని అన్నాడు") == [
        ("అతను నిన్న సాయంత్రం '", "te", ""),
        ("The quick brown fox two jumps!'", "en", ""),
        ("అని అన్నాడు", "te", ""),
    ]


def test_letters_that_a_voice_cannot_read_are_said_in_their_own_language() -> None:
    assert tongues("The word నమస్తే means hello.") == [
        ("The word", "en", ""),
        ("నమస్తే", "te", ""),
        ("means hello.", "en", ""),
    ]
    assert tongues("The word నమస్తే means hello.", Controls(language="en-IN", voice="v"))[1] == ("నమస్తే", "te", "v")


def test_japanese_is_told_from_chinese_by_what_came_before() -> None:
    assert tongues("日本語です。東京。") == [("日本語です。", "ja", ""), ("東京。", "ja", "")]
    assert tongues("北京。") == [("北京。", "zh", "")]
    assert tongues("東京へ行く。", Controls(language="ja")) == [("東京へ行く。", "ja", "")]


def test_the_requested_language_is_spoken() -> None:
    controls = Controls(language="te", voice="v")
    assert tongues("I have 5 apples today.", controls) == [("I have ఐదు apples today.", "te", "v")]
    assert tongues("यह 5 है।", Controls(language="mr")) == [("यह 5 है।", "mr", "")]


def test_a_known_voice_speaks_its_languages() -> None:
    voices = {"te": ("te",), "fr": ("fr-FR", "en"), "xx": ("en", "es")}
    assert tongues(f"{TELUGU} 5.", Controls(voice="te", voices=voices)) == [(f"{TELUGU} ఐదు.", "te", "te")]
    # Its own language reads Latin letters too, but numbers among English words are English.
    assert tongues("I have 5 apples today?", Controls(voice="te", voices=voices)) == [
        ("I have five apples today?", "te", "te")
    ]
    assert tongues("Bonjour.", Controls(voice="fr", voices=voices)) == [("Bonjour.", "fr-FR", "fr")]
    assert tongues("Hola amigos, నమస్తే", Controls(voice="xx", language="es", voices=voices)) == [
        ("Hola amigos,", "es", "xx"),
        ("నమస్తే", "te", ""),
    ]
    assert tongues("42", Controls(voice="te", voices=voices)) == [("నలభై రెండు", "te", "te")]


def test_a_script_suggests_a_language_that_the_model_speaks() -> None:
    german = Controls(languages=["de"])
    assert tongues("Guten Tag. 42", german) == [("Guten Tag.", "de", ""), ("42", "de", "")]
    assert tongues("Привіт.", Controls(languages=["de", "uk"])) == [("Привіт.", "uk", "")]
    assert tongues("नमस्ते।", Controls(languages=["de", "mr", "hi"])) == [("नमस्ते।", "hi", "")]
    # What it does not speak at all is for the engine to refuse.
    assert tongues("నమస్తే.", german) == [("నమస్తే.", "te", "")]
