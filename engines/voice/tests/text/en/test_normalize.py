"""English text normalization."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.engines.voice.text import normalize


def say(text: str) -> str:
    return normalize(text, "en")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("In 1999 and 2005.", "In nineteen ninety-nine and two thousand five."),
        ("born in 1066", "born in ten sixty-six"),
        ("1066 apples", "one thousand sixty-six apples"),
        ("by 1900", "by nineteen hundred"),
        ("in 1905", "in nineteen oh five"),
        ("2010 was", "twenty ten was"),
        ("1,999 people", "one thousand nine hundred ninety-nine people"),
        ("the 1990s and the '80s", "the nineteen nineties and the eighties"),
        ("1990-1995", "nineteen ninety to nineteen ninety-five"),
    ],
)
def test_years(text: str, words: str) -> None:
    assert say(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-11-28", "the twenty-eighth of November twenty twenty-six"),
        ("28/11/2026", "the twenty-eighth of November twenty twenty-six"),
        ("11/28/2026", "the twenty-eighth of November twenty twenty-six"),
        ("03/04/2026", "the third of April twenty twenty-six"),
        ("28-11-2026", "the twenty-eighth of November twenty twenty-six"),
        ("on 28 Nov 2026.", "on the twenty-eighth of November twenty twenty-six."),
        ("the 28th of November", "the twenty-eighth of November"),
        ("November 28, 2026", "November twenty-eighth, twenty twenty-six"),
        ("May 5th", "May fifth"),
        ("29/02/2024", "the twenty-ninth of February twenty twenty-four"),
        ("2026-11-28T10:30:00Z", "the twenty-eighth of November twenty twenty-six at ten thirty"),
    ],
)
def test_dates(text: str, words: str) -> None:
    assert say(text) == words


@pytest.mark.parametrize("text", ["31/02/2026", "29/02/2026", "00/01/2026", "2026-13-45"])
def test_impossible_days_are_no_dates(text: str) -> None:
    assert "February" not in say(text)
    assert "January" not in say(text)
    assert not any(character.isdigit() for character in say(text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("at 10:30", "at ten thirty"),
        ("10:30 pm", "ten thirty PM"),
        ("9:05 a.m. sharp", "nine oh five AM sharp"),
        ("until 5 p.m.", "until five PM."),
        ("5pm", "five PM"),
        ("at 5:30\u202fp. m. we", "at five thirty PM we"),
        ("10:30:15.5", "ten thirty and fifteen point five seconds"),
        ("36:15:20", "thirty-six hours fifteen minutes twenty seconds"),
        ("1h30m", "one hour thirty minutes"),
        ("2h 15min 3s", "two hours fifteen minutes three seconds"),
        ("10:00", "ten o'clock"),
        ("14:00", "fourteen hundred hours"),
        ("14:30", "fourteen thirty"),
        ("10:30:15", "ten thirty and fifteen seconds"),
        ("a ratio of 16:9", "a ratio of sixteen to nine"),
    ],
)
def test_times(text: str, words: str) -> None:
    assert say(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("₹1,50,000", "one lakh fifty thousand rupees"),
        ("₹150000", "one lakh fifty thousand rupees"),
        ("₹2,00,00,000", "two crore rupees"),
        ("Rs. 500", "five hundred rupees"),
        ("Rs.500", "five hundred rupees"),
        ("₹1", "one rupee"),
        ("₹2.5 lakh", "two point five lakh rupees"),
        ("₹0.50", "fifty paise"),
        ("$3.50", "three dollars fifty cents"),
        ("$1", "one dollar"),
        ("$1.01", "one dollar one cent"),
        ("$150,000", "one hundred fifty thousand dollars"),
        ("$1.5 million", "one point five million dollars"),
        ("$3.999", "three point nine nine nine dollars"),
        ("-$5", "minus five dollars"),
        ("$-5", "minus five dollars"),
        ("€-5", "minus five euros"),
        ("$5.5M", "five point five million dollars"),
        ("$10 000", "ten thousand dollars"),
        ("€20", "twenty euros"),
        ("20 €", "twenty euros"),
        ("£1.01", "one pound one penny"),
        ("500 USD", "five hundred dollars"),
        ("A$5", "five Australian dollars"),
        ("Rs. 500/- only", "five hundred rupees only"),
    ],
)
def test_money(text: str, words: str) -> None:
    assert say(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("50%", "fifty percent"),
        ("10-20%", "ten to twenty percent"),
        ("5 km", "five kilometres"),
        ("1 kg", "one kilogram"),
        ("2.5kg", "two point five kilograms"),
        ("100 km/h", "one hundred kilometres per hour"),
        ("9.8 m/s²", "nine point eight metres per second squared"),
        ("10⁻⁷", "ten to the power of minus seven"),
        ("10^{-7}", "ten to the power of minus seven"),
        ("6.02e23", "six point zero two times ten to the power of twenty-three"),
        ("1e-7", "one times ten to the power of minus seven"),
        ("2^10", "two to the power of ten"),
        ("x² + y³", "x squared plus y cubed"),
        ("E = mc²", "E equals mc squared"),
        ("H₂O", "H two O"),
        ("10 000 people", "ten thousand people"),
        (
            "1 234 567.5 km",
            "one million two hundred thirty-four thousand five hundred sixty-seven point five kilometres",
        ),
        ("10'000", "ten thousand"),
        ("10 000-20 000", "ten thousand to twenty thousand"),
        ("May 5 200 people", "May fifth two hundred people"),
        ("in 2019 2020 2021", "in twenty nineteen twenty twenty twenty twenty-one"),
        ("25°C", "twenty-five degrees Celsius"),
        ("-40 °C", "minus forty degrees Celsius"),
        ("1500 km", "one thousand five hundred kilometres"),
        ("5 million", "five million"),
        ("5 in the box", "five in the box"),
        ("10 - 20 pages", "ten to twenty pages"),
        ("20 - 10", "twenty minus ten"),
        ("pages 10-20", "pages ten to twenty"),
        ("1/2", "one half"),
        ("3/4 of it", "three quarters of it"),
        ("2 1/2 cups", "two and a half cups"),
        ("2½", "two and a half"),
        ("24/7", "twenty-four seven"),
        ("9 a.m.–5 p.m.", "nine AM to five PM."),
        ("6'2\" tall", "six foot two tall"),
        ("in 9.58s", "in nine point five eight seconds"),
        ("3x faster", "three times faster"),
        ("3x4", "three by four"),
        ("c. 1850", "circa eighteen fifty"),
    ],
)
def test_measures(text: str, words: str) -> None:
    assert say(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9876543210", "nine eight seven six five four three two one zero"),
        ("98765 43210", "nine eight seven six five, four three two one zero"),
        ("+91 98765 43210", "plus nine one, nine eight seven six five, four three two one zero"),
        ("040-23456789", "zero four zero, two three four five six seven eight nine"),
        ("555-1234", "five five five, one two three four"),
        ("007", "zero zero seven"),
        ("800.555.1234", "eight zero zero, five five five, one two three four"),
        ("4111 1111 1111 1111", "four one one one, one one one one, one one one one, one one one one"),
        ("1234 5678 9012", "one two three four, five six seven eight, nine zero one two"),
        ("4111-1111-1111-1111", "four one one one, one one one one, one one one one, one one one one"),
        ("1-800-FLOWERS", "one, eight zero zero, FLOWERS"),
        ("1-800-GO-FEDEX", "one, eight zero zero, GO, FEDEX"),
        ("978-3-16-148410-0", "nine seven eight, three, one six, one four eight four one zero, zero"),
        ("1000000", "one million"),
        ("12345678901234567", "one two three four five six seven eight nine zero one two three four five six seven"),
        ("version 1.2.3", "version one point two point three"),
    ],
)
def test_identifiers_are_read_digit_by_digit(text: str, words: str) -> None:
    assert say(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dr. Rao met Mr. Singh and Mrs Dalloway.", "Doctor Rao met Mister Singh and Missus Dalloway."),
        ("St. Mary lives on Main St.", "Saint Mary lives on Main Street."),
        ("e.g. this, i.e. that", "for example this, that is that"),
        ("apples, pears, etc.", "apples, pears, et cetera."),
        ("etc. and so on", "et cetera and so on"),
        ("India vs. England", "India versus England"),
        ("No. 5", "number five"),
        ("No. I won't.", "No. I won't."),
        ("Tom & Jerry", "Tom and Jerry"),
        ("A & B", "A & B"),
        ("AT&T and Q&A", "AT&T and Q&A"),
        ("2 + 2 = 4", "two plus two equals four"),
        ("meet @ home", "meet at home"),
        ("#1", "number one"),
        ("#fun", "hashtag fun"),
        ("5 < 6", "five is less than six"),
        ("x <= 6 and y != 7", "x is at most six and y is not equal to seven"),
        ("chance: <5%", "chance: less than five percent"),
        ("King George VI", "King George the sixth"),
        ("Chapter IV", "Chapter four"),
        ("World War II", "World War two"),
        ("Act Ⅳ", "Act four"),
        ("Henry VIII", "Henry the eighth"),
        ("Henry Ⅷ", "Henry the eighth"),
        ("Pope John Paul II", "Pope John Paul the second"),
        ("IV fluids", "I V fluids"),
        ("stage III, type II", "stage three, type two"),
        ("the XIX century", "the nineteenth century"),
        ("World War I began", "World War one began"),
        ("an IV and a CV", "an I V and a C V"),
        ("MIX it, I said", "MIX it, I said"),
        ("Rocky III", "Rocky three"),
        ("C#, C++ and F#", "C sharp, C plus plus and F sharp"),
        ("v1.2.3", "version one point two point three"),
        ("№ 5", "number five"),
        ("and/or", "and or"),
        ("Class X", "Class ten"),
        ("Part I wrote", "Part I wrote"),
        ("Section C", "Section C"),
        ("I am VI", "I am V I"),
        ("**bold** _words_", "bold words"),
        ("COVID-19", "COVID-nineteen"),
        ("MP3", "MP three"),
    ],
)
def test_short_forms_and_signs(text: str, words: str) -> None:
    assert say(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("www.example.com", "w w w dot example dot com"),
        ("see https://example.org/a-b.", "see example dot org slash a dash b."),
        ("example.com, please", "example dot com, please"),
        ("john.doe@example.co.in!", "john dot doe at example dot co dot in!"),
    ],
)
def test_addresses(text: str, words: str) -> None:
    assert say(text) == words


@given(st.text(alphabet="0123456789.,:/-$₹%° kmpst+()#'", max_size=40))
def test_no_figure_is_left_over(text: str) -> None:
    assert not any(character in "0123456789" for character in say(text))


@given(st.text(max_size=60))
def test_words_are_one_space_apart(text: str) -> None:
    assert say(text) == " ".join(say(text).split())


def test_slashed_dates_begin_with_the_month_in_america() -> None:
    assert normalize("12/05/2024", "en-US") == "December fifth, twenty twenty-four"
    assert normalize("25/12/2024", "en-US") == "the twenty-fifth of December twenty twenty-four"
    assert normalize("12/05/2024", "en-GB") == say("12/05/2024") == "the twelfth of May twenty twenty-four"
    assert say("2024/05/12") == "the twelfth of May twenty twenty-four"


def test_other_languages_keep_their_figures() -> None:
    assert normalize("J'ai 3 chats.", "fr") == "J'ai 3 chats."
    assert normalize("3 cats", "en-GB") == "three cats"
