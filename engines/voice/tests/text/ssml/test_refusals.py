"""Invalid SSML and unsupported elements are refused with their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.text import Controls, SsmlError, plan_ssml


def refused(document: str) -> SsmlError:
    with pytest.raises(SsmlError) as caught:
        plan_ssml(document, controls=Controls())
    return caught.value


@pytest.mark.parametrize(
    ("inside", "parts"),
    [
        ("<b>x</b>", ["<b> is unknown", "speak, p, s, break, prosody"]),
        ('<audio src="x.wav"/>', ["<audio> is not supported", "take <audio> out"]),
        ('<phoneme ph="x">y</phoneme>', ["<phoneme>", "<sub alias"]),
        ("<speak>x</speak>", ["<speak> can only be the outermost element"]),
        ('<break time="11s"/>', ["<break> has time='11s'", "at most 10s"]),
        ('<break time="1"/>', ["time='1'", '"500ms"']),
        ('<break time="-1s"/>', ["time='-1s'"]),
        ('<break time="1.s"/>', ["time='1.s'"]),
        ('<break time=".s"/>', ["time='.s'"]),
        ('<break time="1e3ms"/>', ["time='1e3ms'"]),
        ('<break strength="huge"/>', ["strength='huge'", "none, x-weak, weak, medium, strong, x-strong"]),
        ("<break>x</break>", ["<break> must be empty", "'x'"]),
        ("<break><s/></break>", ["<break> may hold nothing, not <s>"]),
        ('<prosody rate="quick">x</prosody>', ["rate='quick'", "x-slow, slow, medium, fast, x-fast"]),
        ('<prosody pitch="50%">x</prosody>', ["pitch='50%'", '"+2st"']),
        ('<prosody range="wide">x</prosody>', ["range='wide'"]),
        ('<prosody volume="6dB">x</prosody>', ["volume='6dB'", "silent, x-soft"]),
        ('<prosody contour="(0%,+1st)">x</prosody>', ["no attribute 'contour'", "rate, pitch, range, volume"]),
        ("<prosody>x</prosody>", ["<prosody> needs at least one attribute"]),
        ('<emphasis level="big">x</emphasis>', ["level='big'", "strong, moderate, none, reduced"]),
        ("<say-as>x</say-as>", ["<say-as> needs the attribute 'interpret-as'"]),
        (
            '<say-as interpret-as="vxml">x</say-as>',
            ["interpret-as='vxml'", "characters, spell-out, verbatim, cardinal"],
        ),
        ('<say-as interpret-as="cardinal">ten</say-as>', ["interpret-as='cardinal'", "'ten' is not a number"]),
        ('<say-as interpret-as="cardinal"/>', ["it has no text"]),
        ('<say-as interpret-as="cardinal"><s>5</s></say-as>', ["<say-as> may hold only text, not <s>"]),
        ('<say-as interpret-as="cardinal" format="x">5</say-as>', ["format='x'", "for dates only"]),
        ('<say-as interpret-as="date" format="xyz">5</say-as>', ["format='xyz'", "dmy, mdy, ymd"]),
        ('<say-as interpret-as="date" format="dmy">11/28/2026</say-as>', ["'11/28/2026' is no date", "dmy"]),
        ('<say-as interpret-as="date">31/02/2026</say-as>', ["'31/02/2026' is no date"]),
        ('<say-as interpret-as="time">25:00</say-as>', ["'25:00' is not a time"]),
        ('<say-as interpret-as="currency">5</say-as>', ["'5' is not an amount"]),
        ('<say-as interpret-as="fraction">1/0</say-as>', ["'1/0' divides by zero"]),
        ('<say-as interpret-as="unit">5 parsnips</say-as>', ["'5 parsnips' is not a measure"]),
        ('<say-as interpret-as="telephone">call me</say-as>', ["'call me' is not a telephone number"]),
        ("<sub>x</sub>", ["<sub> needs the attribute 'alias'"]),
        ('<sub alias="x"> </sub>', ["<sub>: it has no text"]),
        (f'<sub alias="{"x" * 201}">y</sub>', ["at most 200 characters"]),
        ("<voice>x</voice>", ["<voice> needs the attribute 'name'"]),
        ('<voice name="a" gender="robot">x</voice>', ["gender='robot'", "female, male, neutral"]),
        ('<voice name="a" language="not a tag">x</voice>', ["language='not a tag'", "BCP 47"]),
        ("<lang>x</lang>", ["<lang> needs the attribute 'xml:lang'"]),
        ('<lang xml:lang="!">x</lang>', ["xml:lang='!'"]),
        ("<mark/>", ["<mark> needs the attribute 'name'"]),
        ('<p class="x">y</p>', ["<p> has no attribute 'class'"]),
        ("&nbsp;", ["undefined entity", "&amp;"]),
        ("a < b", ["invalid XML", "&lt;"]),
        ("<s>x</p>", ["mismatched tag"]),
        ("", ["no text to speak"]),
        ("<break/>...", ["no text to speak"]),
    ],
)
def test_refusals(inside: str, parts: list[str]) -> None:
    error = refused(f"<speak>{inside}</speak>")
    for part in parts:
        assert part in error.message
    assert error.line == 1


def test_the_place_is_named() -> None:
    error = refused("<speak>\nతెలుగు 😀 <b>x</b>\n</speak>")
    assert (error.line, error.column) == (2, len("తెలుగు 😀 ") + 1)
    assert str(error).startswith("line 2, column 10: <b> is unknown")
    error = refused('<speak>\n\n  <say-as interpret-as="cardinal">\nten\n</say-as></speak>')
    assert (error.line, error.column) == (3, 3)
    error = refused("<speak>\n<p>x</s></speak>")
    assert error.line == 2
    error = refused("<speak>a\nb\ud800</speak>")
    assert (error.line, error.column) == (2, 2)
    assert "surrogate" in error.message


@pytest.mark.parametrize("document", ["hello", "  hello <b>x</b>", "\n", ""])
def test_plain_text_is_not_ssml(document: str) -> None:
    assert "a document must begin with <speak>" in refused(document).message


def test_a_fragment_is_refused() -> None:
    assert "outermost element is <p>: put everything into one <speak>" in refused("<p>a</p><p>b</p>").message


@pytest.mark.parametrize(
    "document",
    [
        "<!DOCTYPE speak><speak>x</speak>",
        '<!DOCTYPE speak SYSTEM "file:///etc/passwd"><speak>x</speak>',
        '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><speak>&b;</speak>',
        '<?xml version="1.0"?>\n<!DOCTYPE l [<!ENTITY % p SYSTEM "http://localhost/x"> %p;]><speak>x</speak>',
    ],
)
def test_nothing_is_expanded_or_looked_up(document: str) -> None:
    assert "document types and entities are not supported" in refused(document).message


def test_bounds() -> None:
    deep = "<prosody rate='100%'>" * 31 + "x" + "</prosody>" * 31
    assert plan_ssml(f"<speak>{deep}</speak>", controls=Controls()).characters == 1
    error = refused(f"<speak><s>{deep}</s></speak>")
    assert "more than 32 elements deep" in error.message
    many = '<mark name="a"/>' * 99_999
    assert plan_ssml(f"<speak>x{many}</speak>", controls=Controls()).characters == 1
    assert "more than 100,000 elements" in refused(f"<speak>{many}<s>x</s></speak>").message
    silence = '<break time="10s"/>x' * 60
    assert plan_ssml(f"<speak>{silence}</speak>", controls=Controls()).characters == 60
    assert "more than 600 seconds" in refused(f"<speak>{silence}<break/></speak>").message


TAGS = st.sampled_from(
    [
        *(
            "<s>",
            "</s>",
            "<p>",
            "</p>",
            "<break/>",
            "<break>",
            "</prosody>",
            '<prosody rate="',
            '80%">',
            "text ",
            "&amp;",
        ),
        *('<sub alias="x">', "</sub>", "]]>", "<!--", "-->", "<![CDATA[", "\n", "<?x ?>", "&#0;", "&#x1F600;", "\x00"),
        '<say-as interpret-as="date">',
        "</say-as>",
        "12",
    ]
)


@given(st.lists(TAGS, max_size=20).map("".join))
def test_a_document_is_planned_or_refused(inside: str) -> None:
    document = f"<speak>{inside}</speak>"
    try:
        plan = plan_ssml(document, controls=Controls())
    except SsmlError as error:
        lines = document.split("\n")
        assert 1 <= error.line <= len(lines)
        assert 1 <= error.column <= len(lines[error.line - 1]) + 1
    else:
        assert plan.chunks


def test_declarations_comments_and_the_usual_attributes_are_fine() -> None:
    document = (
        '\ufeff<?xml version="1.0" encoding="UTF-16"?><!-- c --><speak version="1.1" xml:lang="en-US" '
        'xmlns="http://www.w3.org/2001/10/synthesis" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        'xsi:schemaLocation="a b">hi<![CDATA[ <there> ]]></speak>'
    )
    assert plan_ssml(document, controls=Controls()).characters == len("hi <there> ")
