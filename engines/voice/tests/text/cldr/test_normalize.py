"""Normalization of the languages whose numbers the voices read."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.text import Controls, normalize
from engines.voice.tests.text.plans import said

LANGUAGES = ("en", "te", "es", "fr", "de", "hi", "ta", "ar", "ru", "ja", "sw", "xx")


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        ("es", "10 000 personas", "10000 personas"),
        ("fr", "10\u202f000 personnes", "10000 personnes"),
        ("de", "10.000 Leute und 1.234,5", "10000 Leute und 1.234,5"),
        ("hi", "12,34,567 लोग", "1234567 लोग"),
        ("ja", "10 000人", "10000人"),
        ("es", "4111 1111 1111 1111", "4 1 1 1, 1 1 1 1, 1 1 1 1, 1 1 1 1"),
        ("hi", "1234 5678 9012", "1 2 3 4, 5 6 7 8, 9 0 1 2"),
        ("fr", "06 12 34 56 78", "06 12 34 56 78"),
        ("es", "612 345 678", "6 1 2, 3 4 5, 6 7 8"),
        ("es", "+34 612 345 678", "+3 4, 6 1 2, 3 4 5, 6 7 8"),
        ("ru", "+7 495 123-45-67", "+7, 4 9 5, 1 2 3, 4 5, 6 7"),
        ("de", "9876543210", "9 8 7 6 5 4 3 2 1 0"),
        ("es", "1-800-FLORES", "1, 8 0 0, FLORES"),
    ],
)
def test_groups_of_figures(language: str, text: str, spoken: str) -> None:
    assert normalize(text, language) == spoken


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        ("es", "−5 °C", "menos 5 grados Celsius"),
        ("ru", "-5 градусов", "минус 5 градусов"),
        ("ru", "1 km, 2 km, 5 km", "1 километр, 2 километра, 5 километров"),
        ("hi", "-5 डिग्री", "माइनस 5 डिग्री"),
        ("ar", "50%", "50 بالمائة"),
        ("es", "$-5", "menos 5 dólares"),
        ("es", "-$5", "menos 5 dólares"),
        ("es", "$5.5M", "5,5 millones de dólares"),
        ("hi", "$5.5M", "5500000 डॉलर"),
        ("ru", "$5.5M", "5,5 миллиона долларов США"),
        ("hi", "₹1,50,000", "150000 रुपये"),
        ("hi", "₹5 लाख, ₹1.5 करोड़", "5 लाख रुपये, 1.5 करोड़ रुपये"),
        ("es", "$5 millones, $5 mil", "5 millones de dólares, 5 mil dólares"),
        ("fr", "20 €", "20 euros"),
        ("fr", "3,5 M€", "3,5 millions d'euros"),
        ("es", "10–20", "10 a 20"),
        ("hi", "10-20", "10 से 20"),
        ("es", "1/2 y 3/7", "un medio y 3 sobre 7"),
        ("es", "10⁻⁷", "10 elevado a menos 7"),
        ("es", "2^10", "2 elevado a 10"),
        ("ru", "x²", "x в квадрате"),
        ("xx", "10⁻⁷", "10 ^ -7"),
        ("es", "5 m/s²", "5 metros por segundo al cuadrado"),
        ("es", "H₂O", "H2O"),
    ],
)
def test_amounts(language: str, text: str, spoken: str) -> None:
    assert normalize(text, language) == spoken


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        ("es", "12/05/2024", "12 de mayo de 2024"),
        ("es", "2024-05-12", "12 de mayo de 2024"),
        ("fr", "01/12/2024", "1er décembre 2024"),
        ("de", "12.05.2024", "12. mai 2024"),
        ("ru", "12.05.2024", "12 мая 2024 года"),
        ("hi", "12/05/2024", "12 मई 2024"),
        ("ja", "2024/05/12", "2024年5月12日"),
        ("es", "31/02/2024", "31/02/2024"),
        ("es", "10:30:15", "10:30:15"),
    ],
)
def test_dates(language: str, text: str, spoken: str) -> None:
    assert normalize(text, language) == spoken


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        ("es", "Tom & Jerry, AT&T", "Tom y Jerry, A T y T"),
        ("hi", "A&B", "A और B"),
        ("es", "C# y C++", "C sharp y C más más"),
        ("es", "#1, №5 y #feliz", "número 1, número 5 y feliz"),
        ("es", "siglo XXI, Felipe II, Act Ⅳ, MIX", "siglo 21, Felipe 2º, Act 4, MIX"),
        ("fr", "Louis XIV au XIXe siècle", "Louis 14 au 19ème siècle"),
        ("fr", "2e étage, 1er jour", "2ème étage, 1er jour"),
        ("ru", "XIX век", "19 век"),
        ("it", "Luigi XIV, XX secolo", "Luigi 14º, 20º secolo"),
        ("es", "y/o", "y o"),
        ("es", "ana_m@x.es", "ana guion bajo m arroba x punto es"),
        ("es", "https://example.com/a", "example punto com barra a"),
        ("hi", "https://example.com", "example डॉट com"),
        ("sw", "https://example.com/a-b", "example.com a b"),
    ],
)
def test_signs_and_names(language: str, text: str, spoken: str) -> None:
    assert normalize(text, language) == spoken


@pytest.mark.parametrize(
    ("language", "text", "spoken"),
    [
        ("es", "**hola** _x_ `y` 😀 → z", ["hola x y z"]),
        ("hi", "**मोटा** _x_ `y` 😀", ["मोटा x y"]),
        ("es", "# Uno\n\n> citado\n- dos\n* tres\n- [x] cuatro", ["Uno", "citado", "dos", "tres", "cuatro"]),
        (
            "en",
            "> quoted text that is long enough to be wrapped at the\n> margin",
            ["quoted text that is long enough to be wrapped at the margin"],
        ),
        ("en", "[link](https://x.y/z), ![picture](a.png)", ["link, picture"]),
        ("fr", '<b>gras</b> &amp; <a href="https://x.y">lien</a><br/>', ["gras et lien"]),
        ("en", "x<sup>2</sup> and H<sub>2</sub>O", ["x squared and H two O"]),
        ("en", "| a | b |", ["a, b"]),
        ("en", "vector<int> a < b", ["vector int a is less than b"]),
        ("en", "```python\nprint\n```", ["print"]),
        ("en", "-5 is cold. - five", ["minus five is cold.", "five"]),
    ],
)
def test_markup_is_not_spoken(language: str, text: str, spoken: list[str]) -> None:
    assert said(text, Controls(language=language)) == spoken


@pytest.mark.parametrize("digits", ["१२३", "১২৩", "௧௨௩", "١٢٣", "۱۲۳", "๑๒๓", "౧౨౩", "１２３", "𝟏𝟐𝟑", "᠑᠒᠓"])
def test_digits_of_any_script_are_digits(digits: str) -> None:
    assert said(f"We have {digits} cats", Controls(language="en")) == ["We have one hundred twenty-three cats"]
    assert said(f"Hay {digits} gatos", Controls(language="es")) == ["Hay 123 gatos"]
    assert said(f"{digits} బిల్లులు", Controls(language="te")) == [f"{normalize('123', 'te')} బిల్లులు"]


PIECES = st.sampled_from(
    [
        *("10 000", "1234 5678 9012", "3.5", "1,50,000", "-5", "$5", "€ 7", "50%", "10–20", "12/05/2024", "10:30:15.5"),
        *(
            "x²",
            "10⁻⁷",
            "2^10",
            "H₂O",
            "A&B",
            "C#",
            "C++",
            "1/2",
            "½",
            "5 km",
            "9 m/s²",
            "#1",
            "Louis XIV",
            "Act Ⅳ",
            "IV",
        ),
        *("v1.2.3", "a_b@x.org", "https://x.org/a-b", "**b**", "> q", "[l](http://a.b)", "<b>t</b>", "&amp;", "९८"),
        *("word", "слово", "شخص", "మంది", "a.m.", "1-800-FLOWERS"),
    ]
)
TEXTS = st.lists(PIECES, min_size=1, max_size=6).map("; ".join)
NUMBERS = st.sampled_from(["12", "345", "6789", "10 000", "4111 1111 1111 1111", "3.5", "-8", "9:30", "1,234"])
WORDS = st.sampled_from(["alfa", "Beta", "**gamma**", "delta_e", "zeta.", "eta,", "theta!"])


@given(TEXTS, st.sampled_from(LANGUAGES))
def test_normalizing_twice_is_normalizing_once(text: str, language: str) -> None:
    once = normalize(text, language)
    assert normalize(once, language) == once


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.sampled_from(LANGUAGES[2:]))
def test_no_digit_is_lost(numbers: list[str], language: str) -> None:
    text = "; ".join(numbers)
    assert re.sub(r"[^0-9]", "", normalize(text, language)) == re.sub(r"[^0-9]", "", text)


@given(st.lists(WORDS, min_size=1, max_size=8), st.sampled_from(LANGUAGES))
def test_no_word_is_lost(words: list[str], language: str) -> None:
    text = " ".join(words)
    assert re.findall(r"[a-z]+", normalize(text, language).lower()) == re.findall(r"[a-z]+", text.lower())


@given(st.text(alphabet="0123456789.,:/-−–$₹% ⁻²³₂IVXabC#+&*_`|<>[]()^'½", max_size=40), st.sampled_from(LANGUAGES))
def test_it_never_fails(text: str, language: str) -> None:
    assert normalize(text, language) == " ".join(normalize(text, language).split())
