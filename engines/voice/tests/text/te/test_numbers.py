"""Numbers in Telugu words have the value of the figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.text import normalize

SMALL = (
    *("సున్నా", "ఒకటి", "రెండు", "మూడు", "నాలుగు", "ఐదు", "ఆరు", "ఏడు", "ఎనిమిది", "తొమ్మిది", "పది"),
    *("పదకొండు", "పన్నెండు", "పదమూడు", "పద్నాలుగు", "పదిహేను", "పదహారు", "పదిహేడు", "పద్దెనిమిది"),
    "పంతొమ్మిది",
)
TENS = (*("ఇరవై", "ముప్పై", "నలభై", "యాభై", "అరవై", "డెబ్బై", "ఎనభై", "తొంభై"),)
SCALES = {
    **dict.fromkeys(("వంద", "వందలు", "వందల", "నూట"), 100),
    **dict.fromkeys(("వెయ్యి", "వేలు", "వేల"), 1000),
    **dict.fromkeys(("లక్ష", "లక్షలు", "లక్షల"), 10**5),
    **dict.fromkeys(("కోటి", "కోట్లు", "కోట్ల"), 10**7),
}


def meant(words: str) -> int:
    """Return the value of Telugu number words, from the words alone."""
    parts: list[int] = []
    for word in words.split():
        if word in SMALL:
            parts.append(SMALL.index(word))
        elif word in ("ఒక", "ఒక్క"):
            parts.append(1)
        elif word in TENS:
            parts.append(20 + 10 * TENS.index(word))
        else:
            scale = SCALES[word]
            below = 0
            # Singular scales, such as వెయ్యి, have no multiplier before them.
            # Above a crore there are only crores of crores.
            while word not in ("వంద", "నూట", "వెయ్యి", "లక్ష", "కోటి") and parts and (parts[-1] < scale or scale == 10**7):
                below += parts.pop()
            parts.append((below or 1) * scale)
    return sum(parts)


def test_zero_to_a_hundred() -> None:
    expected = [*SMALL]
    for ten in TENS:
        expected += [ten, *(f"{ten} {ones}" for ones in SMALL[1:10])]
    words = [normalize(str(number), "te") for number in range(101)]
    assert words == [*expected, "వంద"]
    assert len(set(words)) == 101


@given(st.one_of(st.integers(0, 10**5), st.integers(0, 10**14)))
def test_words_mean_the_number(number: int) -> None:
    assert meant(normalize(f"{number:,}", "te")) == number


@given(st.integers(2, 10**9))
def test_words_before_a_noun_mean_the_number(number: int) -> None:
    words = normalize(f"₹{number:,}", "te").removesuffix(" రూపాయలు")
    assert meant(words) == number
    assert not words.endswith("లు")


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ("101", "నూట ఒకటి"),
        ("123", "నూట ఇరవై మూడు"),
        ("200", "రెండు వందలు"),
        ("250", "రెండు వందల యాభై"),
        ("999", "తొమ్మిది వందల తొంభై తొమ్మిది"),
        ("1000", "వెయ్యి"),
        ("1001", "వెయ్యి ఒకటి"),
        ("1123", "వెయ్యి నూట ఇరవై మూడు"),
        ("1999", "వెయ్యి తొమ్మిది వందల తొంభై తొమ్మిది"),
        ("2000", "రెండు వేలు"),
        ("2005", "రెండు వేల ఐదు"),
        ("2026", "రెండు వేల ఇరవై ఆరు"),
        ("21,000", "ఇరవై ఒక్క వేలు"),
        ("99,999", "తొంభై తొమ్మిది వేల తొమ్మిది వందల తొంభై తొమ్మిది"),
        ("1,00,000", "లక్ష"),
        ("100,000", "లక్ష"),
        ("1,50,000", "లక్ష యాభై వేలు"),
        ("2,00,000", "రెండు లక్షలు"),
        ("2,50,001", "రెండు లక్షల యాభై వేల ఒకటి"),
        ("1,00,00,000", "కోటి"),
        ("2,00,00,000", "రెండు కోట్లు"),
        ("12,34,56,789", "పన్నెండు కోట్ల ముప్పై నాలుగు లక్షల యాభై ఆరు వేల ఏడు వందల ఎనభై తొమ్మిది"),
        ("1,000,000,000,000", "లక్ష కోట్లు"),
        ("-5", "మైనస్ ఐదు"),
        ("3.14", "మూడు పాయింట్ ఒకటి నాలుగు"),
        ("౨౦౦౫", "రెండు వేల ఐదు"),
        ("౧౨.౫", "పన్నెండు పాయింట్ ఐదు"),
        ("9" * 16, " ".join(["తొమ్మిది"] * 16)),
    ],
)
def test_cardinals(figures: str, words: str) -> None:
    assert normalize(figures, "te") == words


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ("1వ", "ఒకటవ"),
        ("2వ", "రెండవ"),
        ("5వ", "ఐదవ"),
        ("8వ", "ఎనిమిదవ"),
        ("10వ", "పదవ"),
        ("20వ", "ఇరవయ్యవ"),
        ("21వ", "ఇరవై ఒకటవ"),
        ("100వ", "వందవ"),
        ("3 వ", "మూడవ"),
        ("5వది", "ఐదవది"),
        ("5వరకు", "ఐదు వరకు"),
    ],
)
def test_ordinals(figures: str, words: str) -> None:
    assert normalize(figures, "te") == words
