"""Reads SSML documents.

Nothing outside the document is ever looked at: there are no document types and no entities but XML's own five, so a
small document cannot grow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from xml.parsers import expat

from enginehouse.engines.voice.text._plan import Controls
from enginehouse.engines.voice.text._say_as import KINDS, wrong
from enginehouse.engines.voice.text._scripts import primary
from enginehouse.engines.voice.text._style import Style
from enginehouse.engines.voice.text._verbalizer import SpeechOverride
from enginehouse.engines.voice.text.normalization.dates import FORMATS
from enginehouse.engines.voice.text.segmentation.stream import BETWEEN_PARAGRAPHS_MS, BETWEEN_SENTENCES_MS
from enginehouse.engines.voice.text.ssml import _values as values
from enginehouse.engines.voice.text.ssml._document import (
    BreakElement,
    MarkElement,
    SentenceBoundary,
    SpeechDocument,
    StyledSpan,
)

_DEEPEST = 32
_MAX_ELEMENTS = 100_000
_MAX_ALIAS_LENGTH = 200
_MAX_SILENCE_MS = 600_000
_ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "speak": ("version", "xml:lang", "xmlns", "xmlns:xsi", "xsi:schemaLocation"),
    "p": ("xml:lang",),
    "s": ("xml:lang",),
    "break": ("time", "strength"),
    "prosody": ("rate", "pitch", "range", "volume"),
    "emphasis": ("level",),
    "say-as": ("interpret-as", "format"),
    "sub": ("alias",),
    "voice": ("name", "gender", "language", "xml:lang"),
    "lang": ("xml:lang",),
    "mark": ("name",),
}
_REFUSED = {
    "audio": "recordings are not played here, only speech is made: take <audio> out",
    "phoneme": 'say the word with other letters: <sub alias="...">, or the request\'s lexicon',
    "lexicon": "give the request's own lexicon instead",
}
_EMPTY = ("break", "mark")
_TEXT_ONLY = ("say-as", "sub")


class SsmlError(ValueError):
    """An SSML document that cannot be spoken.

    Args:
        message: what is wrong, and what would be right.
        line: where, from 1.
        column: where in the line, from 1, in characters.
    """

    def __init__(self, message: str, *, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


def read_ssml(document: str, *, controls: Controls) -> SpeechDocument:
    """What an SSML document says.

    Args:
        document: with <speak> as its outermost element.
        controls: what its outermost text is said with.

    Raises SsmlError, naming the place.
    """
    begin = document.lstrip("\ufeff \t\r\n")
    if not begin.startswith("<"):
        found = f", not with {begin[:20]!r}" if begin else ": it is empty"
        line = document[: len(document) - len(begin)].count("\n") + 1
        raise SsmlError(f"a document begins with <speak>{found}", line=line, column=1)
    return _Reader(controls=controls).read(document)


@dataclass(slots=True)
class _Open:
    """An element that is open."""

    name: str
    style: Style
    line: int
    column: int
    override: SpeechOverride | None = None
    text: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, *, controls: Controls) -> None:
        self._voices = controls.voices
        self._base = Style.of(controls)
        self._open: list[_Open] = []
        self._elements = 0
        self._silence_ms = 0
        self._text: list[str] = []
        self._size = 0
        self._document = SpeechDocument()
        self._starts: Mapping[str, Callable[[_Open, dict[str, str]], None]] = {
            "speak": self._language,
            "p": self._language,
            "s": self._language,
            "lang": self._lang,
            "break": self._break,
            "prosody": self._prosody,
            "emphasis": self._emphasis,
            "say-as": self._say_as,
            "sub": self._sub,
            "voice": self._voice,
            "mark": self._mark,
        }
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def read(self, document: str) -> SpeechDocument:
        try:
            self._parser.Parse(document, True)
        except expat.ExpatError as error:
            hint = {
                expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]: (
                    ": only &amp; &lt; &gt; &quot; &apos; and numbers such as &#8377; are known"
                ),
                expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN]: (": write < as &lt; and & as &amp; in text"),
            }.get(error.code, "")
            what = f"it is not XML: {expat.ErrorString(error.code)}{hint}"
            raise SsmlError(what, line=error.lineno, column=error.offset + 1) from None
        except UnicodeEncodeError as error:
            line = document.count("\n", 0, error.start) + 1
            column = error.start - document.rfind("\n", 0, error.start)
            raise SsmlError("it has half a surrogate pair: take it out", line=line, column=column) from None
        self._document.text = "".join(self._text)
        return self._document

    def _error(self, message: str) -> SsmlError:
        return SsmlError(message, line=self._parser.CurrentLineNumber, column=self._parser.CurrentColumnNumber + 1)

    def _doctype(self, *_: object) -> None:
        raise self._error("document types and entities are not read: take <!DOCTYPE> out")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise self._error(f"it has more than {_MAX_ELEMENTS:,} elements: split it")
        if name in _REFUSED:
            raise self._error(f"<{name}> is not spoken: {_REFUSED[name]}")
        if name not in _ATTRIBUTES:
            raise self._error(f"<{name}> is not known; these are: {', '.join(_ATTRIBUTES)}")
        if not self._open and name != "speak":
            raise self._error(f"its outermost element is <{name}>: put everything into one <speak>...</speak>")
        if self._open and name == "speak":
            raise self._error("<speak> is the outermost element and nothing else")
        if self._open and self._open[-1].name in (*_EMPTY, *_TEXT_ONLY):
            inside = self._open[-1].name
            raise self._error(f"<{inside}> holds {'nothing' if inside in _EMPTY else 'text alone'}, not <{name}>")
        if len(self._open) == _DEEPEST:
            raise self._error(f"<{name}> is more than {_DEEPEST} elements deep")
        for attribute in attributes:
            if attribute not in _ATTRIBUTES[name]:
                known = ", ".join(_ATTRIBUTES[name])
                raise self._error(f"<{name}> has no attribute {attribute!r}; it has: {known}")
        style = self._open[-1].style if self._open else self._base
        line, column = self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber + 1
        element = _Open(name, style, line, column)
        self._starts[name](element, attributes)
        self._edge(name)
        self._open.append(element)

    def _end(self, name: str) -> None:
        element = self._open.pop()
        if element.override is not None:
            self._check(element, element.override)
        self._edge(name)

    def _edge(self, name: str) -> None:
        if name in {"p", "s"}:
            pause_ms = BETWEEN_PARAGRAPHS_MS if name == "p" else BETWEEN_SENTENCES_MS
            self._document.boundaries.append(SentenceBoundary(self._size, pause_ms))

    def _characters(self, text: str) -> None:
        element = self._open[-1]
        if element.name in _EMPTY:
            raise self._error(f"<{element.name}> holds nothing, not the text {text[:20]!r}")
        spans = self._document.spans
        start, self._size = self._size, self._size + len(text)
        self._text.append(text)
        if element.override is not None:
            element.text.append(text)
        if spans and spans[-1].style == element.style and spans[-1].override is element.override:
            spans[-1] = replace(spans[-1], end=self._size)
        else:
            spans.append(StyledSpan(start, self._size, element.style, element.override))

    def _check(self, element: _Open, override: SpeechOverride) -> None:
        """Refuse a text that isn't what its element says."""
        text = "".join(element.text).strip()
        problem = None
        if not text:
            problem = "it holds no text"
        elif override.kind != "sub":
            problem = wrong(override.kind, text, override.order)
        if problem is not None:
            what = f"<{element.name}>" if override.kind == "sub" else f"<say-as interpret-as={override.kind!r}>"
            raise SsmlError(f"{what}: {problem}", line=element.line, column=element.column)

    def _required(self, element: _Open, attributes: dict[str, str], name: str) -> str:
        value = attributes.get(name, "").strip()
        if not value:
            raise self._error(f"<{element.name}> needs the attribute {name!r}")
        return value

    def _invalid(self, element: _Open, attribute: str, value: str, allowed: str) -> SsmlError:
        return self._error(f"<{element.name}> has {attribute}={value[:60]!r}; it takes {allowed}")

    def _language(self, element: _Open, attributes: dict[str, str], attribute: str = "xml:lang") -> None:
        if attribute in attributes:
            tag = values.language(attributes[attribute])
            if tag is None:
                raise self._invalid(
                    element, attribute, attributes[attribute], 'a BCP 47 language tag such as "te" or "en-IN"'
                )
            element.style = replace(element.style, language=tag)

    def _lang(self, element: _Open, attributes: dict[str, str]) -> None:
        self._required(element, attributes, "xml:lang")
        self._language(element, attributes)

    def _voice(self, element: _Open, attributes: dict[str, str]) -> None:
        name = self._required(element, attributes, "name")
        gender = attributes.get("gender")
        if gender is not None and gender not in values.GENDERS:
            raise self._invalid(element, "gender", gender, ", ".join(values.GENDERS))
        own = [primary(language) for language in self._voices.get(name, ())]
        language = element.style.language
        if own and primary(language) not in own:
            # The language around it was that of another voice.
            language = ""
        element.style = replace(element.style, voice=name, language=language)
        self._language(element, attributes, "language")
        self._language(element, attributes)

    def _mark(self, element: _Open, attributes: dict[str, str]) -> None:
        self._document.events.append(MarkElement(self._size, self._required(element, attributes, "name")))

    def _break(self, element: _Open, attributes: dict[str, str]) -> None:
        strength, time = attributes.get("strength", "medium"), attributes.get("time")
        if strength not in values.STRENGTHS:
            raise self._invalid(element, "strength", strength, ", ".join(values.STRENGTHS))
        length: int | None = values.STRENGTHS[strength]
        if time is not None:
            length = values.milliseconds(time.strip())
        if length is None:
            max_length = f"at most {values.MAX_BREAK_MS // 1000}s"
            raise self._invalid(element, "time", time or "", f'a time such as "500ms" or "1.5s", {max_length}')
        self._silence_ms += length
        if self._silence_ms > _MAX_SILENCE_MS:
            raise self._error(f"its breaks add up to more than {_MAX_SILENCE_MS // 1000} seconds: split it")
        self._document.events.append(BreakElement(self._size, length))

    def _prosody(self, element: _Open, attributes: dict[str, str]) -> None:
        if not attributes:
            raise self._error(f"<prosody> needs at least one attribute of: {', '.join(_ATTRIBUTES['prosody'])}")
        style, base = element.style, self._base
        for attribute, written in attributes.items():
            value = written.strip()
            if attribute == "rate":
                rate = 1.0 if value == "default" else values.rate(value)
                if rate is None:
                    raise self._invalid(element, attribute, value, values.RATE)
                style = replace(style, speed=(base if value == "default" else style).speed * rate)
            elif attribute == "pitch":
                pitch = 0.0 if value == "default" else values.pitch(value)
                if pitch is None:
                    raise self._invalid(element, attribute, value, values.PITCH)
                style = replace(style, pitch=(base if value == "default" else style).pitch + pitch)
            elif attribute == "range":
                times = 1.0 if value == "default" else values.pitch_range(value)
                if times is None:
                    raise self._invalid(element, attribute, value, values.RANGE)
                style = replace(style, pitch_range=(base if value == "default" else style).pitch_range * times)
            else:
                volume = 0.0 if value == "default" else values.volume(value)
                if volume is None:
                    raise self._invalid(element, attribute, value, values.VOLUME)
                style = replace(style, volume_db=(base if value == "default" else style).volume_db + volume)
        element.style = style

    def _emphasis(self, element: _Open, attributes: dict[str, str]) -> None:
        level = attributes.get("level", "moderate")
        if level not in values.EMPHASES:
            raise self._invalid(element, "level", level, ", ".join(values.EMPHASES))
        element.style = replace(element.style, emphasis=values.EMPHASES[level])

    def _say_as(self, element: _Open, attributes: dict[str, str]) -> None:
        kind = self._required(element, attributes, "interpret-as")
        if kind not in KINDS:
            raise self._invalid(element, "interpret-as", kind, ", ".join(KINDS))
        order = attributes.get("format", "")
        if order and (kind != "date" or order not in FORMATS):
            raise self._invalid(element, "format", order, f"for dates alone, one of {', '.join(FORMATS)}")
        element.override = SpeechOverride(kind, order=order)

    def _sub(self, element: _Open, attributes: dict[str, str]) -> None:
        alias = self._required(element, attributes, "alias")
        if len(alias) > _MAX_ALIAS_LENGTH:
            raise self._invalid(element, "alias", alias, f"at most {_MAX_ALIAS_LENGTH} characters")
        element.override = SpeechOverride("sub", alias=alias)
