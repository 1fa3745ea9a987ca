"""Plans of SSML documents."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.backends.base import Prosody
from enginehouse.engines.voice.text import SILENT_DB, Controls, Emotion, Say, plan_ssml
from engines.voice.tests.text.plans import says, ssml, texts


def only(inside: str, controls: Controls | None = None) -> Say:
    [say] = says(plan_ssml(f"<speak>{inside}</speak>", controls=controls or Controls()).chunks)
    return say


def prosody(inside: str) -> Prosody:
    return only(inside).utterance.prosody


def test_paragraphs_and_sentences() -> None:
    assert ssml("<p><s>One</s><s>Two. Three</s></p><p>Four</p>Five") == [
        *("One", 250, "Two.", 250, "Three", 600, "Four", 600, "Five"),
    ]
    assert ssml("One <s>two</s> three") == ["One", 250, "two", 250, "three"]


def test_line_breaks_mean_nothing() -> None:
    assert ssml("\n  One\n\n  two\n") == ["One two"]


def test_characters_are_those_of_the_text_without_tags() -> None:
    document = "<speak>\n<p>Tom &amp; Jerry &#8377;5.</p> <s>తెలుగు</s> <break/><!-- not said -->x</speak>"
    text = "\nTom & Jerry ₹5. తెలుగు x"
    plan = plan_ssml(document, controls=Controls())
    assert plan.characters == len(text)
    parts = [text[chunk.first_character :][: chunk.characters] for chunk in plan.chunks]
    assert "".join(parts) == text
    assert parts == ["\nTom & Jerry ₹5. ", "తెలుగు ", "x"]


@pytest.mark.parametrize(
    ("attributes", "milliseconds"),
    [
        ('time="500ms"', 500),
        ('time=".5s"', 500),
        ('time="0.5s"', 500),
        ('time="+.25s"', 250),
        ('time="00.250s"', 250),
        ('time=" 2s "', 2000),
        ('time="1.5s"', 1500),
        ('time="10s"', 10_000),
        ('strength="x-weak"', 100),
        ('strength="weak"', 200),
        ('strength="medium"', 400),
        ("", 400),
        ('strength="strong"', 700),
        ('strength="x-strong"', 1200),
        ('strength="strong" time="20ms"', 20),
    ],
)
def test_breaks(attributes: str, milliseconds: int) -> None:
    assert ssml(f"Wait <break {attributes}/> here") == ["Wait", milliseconds, "here"]
    # Between sentences they replace the default pause.
    assert ssml(f"Wait. <break {attributes}/> Here") == ["Wait.", milliseconds, "Here"]


def test_no_break_is_no_pause() -> None:
    assert ssml('Wait <break strength="none"/> here') == ["Wait", "here"]
    assert ssml('<s>Wait</s><break strength="none"/><s>here</s>') == ["Wait", "here"]


def test_breaks_at_both_ends_and_in_a_row() -> None:
    assert ssml('<break time="1s"/>Hi<break time="2s"/>') == [1000, "Hi", 2000]
    assert ssml('One. <break time="1s"/><break time="2s"/> Two') == ["One.", 3000, "Two"]


def test_marks_keep_their_place() -> None:
    assert ssml('<mark name="a"/>One <mark name="b"/>two.<mark name="c"/> <break time="1s"/><mark name="d"/>Three') == [
        *("#a", "One", "#b", "two.", "#c", 1000, "#d", "Three"),
    ]
    assert ssml('One. <mark name="x"/>Two<mark name="end"/>') == ["One.", 250, "#x", "Two", "#end"]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ('rate="x-slow"', Prosody(speed=0.5)),
        ('rate="slow"', Prosody(speed=0.75)),
        ('rate="medium"', Prosody()),
        ('rate="fast"', Prosody(speed=1.3)),
        ('rate="x-fast"', Prosody(speed=1.7)),
        ('rate="80%"', Prosody(speed=0.8)),
        ('rate="+20%"', Prosody(speed=1.2)),
        ('rate="-20%"', Prosody(speed=0.8)),
        ('rate="900%"', Prosody(speed=4.0)),
        ('rate="-100%"', Prosody(speed=0.25)),
        ('pitch="x-low"', Prosody(pitch=-6)),
        ('pitch="high"', Prosody(pitch=3)),
        ('pitch="+2st"', Prosody(pitch=2)),
        ('pitch="-30st"', Prosody(pitch=-12)),
        ('pitch="+10%"', Prosody(pitch=round(12 * math.log2(1.1), 6))),
        ('pitch="-10%"', Prosody(pitch=round(12 * math.log2(0.9), 6))),
        ('range="x-high"', Prosody(pitch_range=2.0)),
        ('range="-50%"', Prosody(pitch_range=0.5)),
        ('rate="50%" pitch="+1st"', Prosody(speed=0.5, pitch=1)),
    ],
)
def test_prosody(attributes: str, expected: Prosody) -> None:
    assert prosody(f"<prosody {attributes}>x</prosody>") == expected


@pytest.mark.parametrize(
    ("volume", "decibels"),
    [
        *(("silent", SILENT_DB), ("x-soft", -12), ("soft", -6), ("medium", 0), ("loud", 4), ("x-loud", 8)),
        *(("+6dB", 6), ("-6dB", -6), ("+90dB", 12), ("-90dB", -40), ("default", 0)),
    ],
)
def test_volume(volume: str, decibels: float) -> None:
    assert only(f'<prosody volume="{volume}">x</prosody>').volume_db == decibels


def test_nesting_combines() -> None:
    assert prosody('<prosody rate="50%"><prosody rate="50%" pitch="+1st">x</prosody></prosody>') == Prosody(
        speed=0.25, pitch=1
    )
    # A nested value that leaves the range comes back from the unbounded value.
    assert prosody('<prosody rate="10%"><prosody rate="1000%">x</prosody></prosody>') == Prosody()
    assert prosody('<prosody rate="slow"><prosody rate="default">x</prosody></prosody>') == Prosody()
    silent = '<prosody volume="silent"><prosody volume="+6dB">x</prosody></prosody>'
    assert only(silent).volume_db == SILENT_DB


def test_prosody_adds_to_the_request() -> None:
    controls = Controls(prosody=Prosody(speed=2.0, pitch=1), volume_db=-3, emotion=Emotion.NEUTRAL)
    say = only('<prosody rate="50%" pitch="+2st" volume="-6dB">x</prosody>', controls)
    assert say.utterance.prosody == Prosody(speed=1.0, pitch=3)
    assert say.volume_db == -9


@pytest.mark.parametrize(
    ("attributes", "weight"),
    [("", 1), ('level="moderate"', 1), ('level="strong"', 2), ('level="none"', 0), ('level="reduced"', -1)],
)
def test_emphasis(attributes: str, weight: float) -> None:
    assert prosody(f"<emphasis {attributes}>x</emphasis>").emphasis == weight


def test_a_word_in_another_style_is_said_apart() -> None:
    assert ssml("I <emphasis>really</emphasis> mean it.") == ["I", "really", "mean it."]


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("cardinal", "1999", "one thousand nine hundred ninety-nine"),
        ("number", "-3.5", "minus three point five"),
        ("ordinal", "21", "twenty-first"),
        ("ordinal", "3rd", "third"),
        ("digits", "4096", "four zero nine six"),
        ("telephone", "+91 98765 43210", "plus nine one, nine eight seven six five, four three two one zero"),
        ("date", "28/11/2026", "the twenty-eighth of November twenty twenty-six"),
        ("date", "20261128", "the twenty-eighth of November twenty twenty-six"),
        ('date" format="mdy', "11/10/2026", "November tenth, twenty twenty-six"),
        ('date" format="dmy', "11/10/2026", "the eleventh of October twenty twenty-six"),
        ('date" format="ymd', "2026.10.11", "the eleventh of October twenty twenty-six"),
        ('date" format="md', "11-10", "November tenth"),
        ('date" format="my', "11/2026", "November twenty twenty-six"),
        ('date" format="y', "1999", "nineteen ninety-nine"),
        ("time", "10:30 pm", "ten thirty PM"),
        ("time", "14:05", "fourteen oh five"),
        ("currency", "$3.50", "three dollars fifty cents"),
        ("currency", "₹1,50,000", "one lakh fifty thousand rupees"),
        ("currency", "500 INR", "five hundred rupees"),
        ("fraction", "3/4", "three quarters"),
        ("fraction", "2 1/2", "two and one half"),
        ("unit", "5 km", "five kilometres"),
        ("verbatim", "Dr. 5 km", "Dr. 5 km"),
    ],
)
def test_say_as_in_english(kind: str, text: str, words: str) -> None:
    assert ssml(f'It is <say-as interpret-as="{kind}">{text}</say-as>!') == [f"It is {words}!"]


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("cardinal", "౧౯౯౯", "వెయ్యి తొమ్మిది వందల తొంభై తొమ్మిది"),
        ("ordinal", "2వ", "రెండవ"),
        ("digits", "40", "నాలుగు సున్నా"),
        ("date", "28/11/2026", "రెండు వేల ఇరవై ఆరు నవంబర్ ఇరవై ఎనిమిది"),
        ("time", "10:30", "పది గంటల ముప్పై నిమిషాలు"),
        ("currency", "రూ. 500", "ఐదు వందల రూపాయలు"),
        ("fraction", "2 1/2", "రెండున్నర"),
        ("unit", "5 కి.మీ.", "ఐదు కిలోమీటర్లు"),
    ],
)
def test_say_as_in_telugu(kind: str, text: str, words: str) -> None:
    assert ssml(f'ఇది <say-as interpret-as="{kind}">{text}</say-as> అండి') == [f"ఇది {words} అండి"]


def test_say_as_elsewhere_keeps_figures_for_the_voice() -> None:
    french = Controls(language="fr")
    assert ssml('<say-as interpret-as="cardinal">1999</say-as>', french) == ["1999"]
    assert ssml('<say-as interpret-as="digits">1999</say-as>', french) == ["1 9 9 9"]


@pytest.mark.parametrize("kind", ["characters", "spell-out"])
def test_spelling(kind: str) -> None:
    plan = plan_ssml(f'<speak>My <say-as interpret-as="{kind}">AB 1.</say-as> is</speak>', controls=Controls())
    assert [(say.utterance.text, say.utterance.spell) for say in says(plan.chunks)] == [
        ("My", False),
        ("AB 1.", True),
        ("is", False),
    ]


def test_many_elements_in_one_sentence() -> None:
    parts = '<sub alias="b">a</sub> ' * 3_000
    assert texts(plan_ssml(f"<speak>{parts}</speak>", controls=Controls(max_length=10_000)).chunks) == [
        ("b " * 3_000).strip()
    ]


def test_sub() -> None:
    assert ssml('The <sub alias="World Wide Web Consortium">W3C</sub> met.') == ["The World Wide Web Consortium met."]
    assert ssml('<sub alias="5 km">far. Away</sub> from here') == ["five kilometres from here"]


def test_overrides_are_not_split() -> None:
    assert ssml('It was <say-as interpret-as="date" format="dmy">28. 11. 2026</say-as> then.') == [
        "It was the twenty-eighth of November twenty twenty-six then."
    ]
    plan = plan_ssml(
        f'<speak>It is <sub alias="short">{"long text. " * 20}</sub> now.</speak>', controls=Controls(max_length=40)
    )
    assert texts(plan.chunks) == ["It is", "short", "now."]
    assert sum(chunk.characters for chunk in plan.chunks) == plan.characters == len("It is  now.") + 11 * 20


def test_voices_and_languages() -> None:
    voices = {"te-f": ("te",), "fr-m": ("fr",), "en-x": ("en",)}
    plan = plan_ssml(
        '<speak xml:lang="en-GB">One <voice name="te-f" gender="female">నమస్తే</voice> <voice name="fr-m">deux</voice>'
        ' <lang xml:lang="de">drei</lang> <voice name="zz" language="es">cuatro</voice> <p xml:lang="it">cinque</p>'
        "</speak>",
        controls=Controls(voice="en-x", voices=voices),
    )
    assert [(say.utterance.text, say.utterance.language, say.utterance.voice) for say in says(plan.chunks)] == [
        ("One", "en-GB", "en-x"),
        ("నమస్తే", "te", "te-f"),
        ("deux", "fr", "fr-m"),
        ("drei", "de", "en-x"),
        ("cuatro", "es", "zz"),
        ("cinque", "it", "en-x"),
    ]


def test_lexicon_and_figures_in_documents() -> None:
    controls = Controls(lexicon=(("nasa", "nassa"),))
    assert ssml("NASA <emphasis>has</emphasis> 5.", controls) == ["nassa", "has", "five."]
    assert ssml("Figures: 5 &lt; 6.", Controls(verbatim=True)) == ["Figures: 5 < 6."]


PARTS = st.sampled_from(
    [
        *("Hello world. ", "నమస్తే! ", "5 &amp; 6, ", "<break/>", '<mark name="m"/>', "a" * 30, "\n", " ", "😀", "end"),
        '<sub alias="one. two">x. y</sub>',
        '<say-as interpret-as="characters">A. B</say-as>',
        '<say-as interpret-as="cardinal"> 12 </say-as>',
        "<s>said. so</s>",
        "<p>par</p>",
        '<prosody rate="slow">slow. ly</prosody>',
        "<emphasis>so</emphasis>",
    ]
)


@given(st.lists(PARTS, max_size=25), st.integers(16, 60))
def test_chunks_cover_the_text_and_nothing_is_too_long(parts: list[str], max_length: int) -> None:
    plan = plan_ssml(f"<speak>{''.join(parts)}.z</speak>", controls=Controls(max_length=max_length))
    at = 0
    for chunk in plan.chunks:
        assert chunk.first_character == at
        assert chunk.characters > 0
        at += chunk.characters
    assert at == plan.characters
    assert all(0 < len(text) <= max_length for text in texts(plan.chunks))
    told = ssml(f"{''.join(parts)}.z", Controls(max_length=max_length))
    assert told.count("#m") == parts.count('<mark name="m"/>')
    # Joined without spaces: a long word before it may put the cut into the middle of the word.
    assert "".join(part for part in told if isinstance(part, str)).count("slow") == sum(
        "slow." in part for part in parts
    )
