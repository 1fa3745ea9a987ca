"""Numbers in English words have the value of the figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.text import Controls, Say, normalize, plan_ssml

SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = (*("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),)
SCALES = {
    "hundred": 100,
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
    "quadrillion": 10**15,
}


def meant(words: str) -> int:
    """Return the value of English number words, from the words alone."""
    parts: list[int] = []
    for word in words.replace("-", " ").split():
        if word in SMALL:
            parts.append(SMALL.index(word))
        elif word in TENS:
            parts.append(20 + 10 * TENS.index(word))
        else:
            scale = SCALES[word]
            below = 0
            while parts and parts[-1] < scale:
                below += parts.pop()
            parts.append(below * scale)
    return sum(parts)


def cardinal(figures: str) -> str:
    plan = plan_ssml(
        f'<speak><say-as interpret-as="cardinal">{figures}</say-as></speak>', controls=Controls(language="en")
    )
    return " ".join(item.utterance.text for item in plan.chunks[0].items if isinstance(item, Say))


def test_the_small_numbers_are_all_different_and_right() -> None:
    words = [cardinal(str(number)) for number in range(101)]
    assert len(set(words)) == 101
    assert [meant(word) for word in words] == list(range(101))


@given(st.one_of(st.integers(0, 10**4), st.integers(0, 10**15)))
def test_words_mean_the_number(number: int) -> None:
    assert meant(cardinal(str(number))) == number
    assert meant(cardinal(f"{number:,}")) == number


@given(st.integers(0, 10**13))
def test_lakhs_and_crores_mean_the_number(number: int) -> None:
    words = normalize(f"₹{number}", "en-IN")
    assert words.removesuffix(" rupees").removesuffix(" rupee") != words
    assert meant(words.removesuffix(" rupees").removesuffix(" rupee")) == number
    assert "illion" not in words


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ("0", "zero"),
        ("21", "twenty-one"),
        ("100", "one hundred"),
        ("123", "one hundred twenty-three"),
        ("1999", "one thousand nine hundred ninety-nine"),
        ("100,000", "one hundred thousand"),
        ("1,00,000", "one lakh"),
        ("12,34,567", "twelve lakh thirty-four thousand five hundred sixty-seven"),
        ("1000000000000000", "one quadrillion"),
        ("1000000000000001", "one zero zero zero zero zero zero zero zero zero zero zero zero zero zero one"),
        ("-5", "minus five"),
        ("3.14", "three point one four"),
        ("0.05", "zero point zero five"),
    ],
)
def test_cardinals(figures: str, words: str) -> None:
    assert cardinal(figures) == words


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ("1st", "first"),
        ("2nd", "second"),
        ("3rd", "third"),
        ("5th", "fifth"),
        ("8th", "eighth"),
        ("9th", "ninth"),
        ("12th", "twelfth"),
        ("20th", "twentieth"),
        ("21st", "twenty-first"),
        ("100th", "one hundredth"),
        ("112th", "one hundred twelfth"),
        ("1,000th", "one thousandth"),
    ],
)
def test_ordinals(figures: str, words: str) -> None:
    assert normalize(figures, "en") == words


def test_endless_digits_are_read_one_by_one_in_linear_time() -> None:
    assert normalize("9" * 5000, "en") == " ".join(["nine"] * 5000)
