"""Read SSML documents.

Nothing outside the document is ever read: document types are refused, and only XML's own five entities are known, so a
small document cannot expand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from xml.parsers import expat

from enginehouse.engines.voice.text._plan import Controls, UnknownVoice
from enginehouse.engines.voice.text._say_as import KINDS, find_problem
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
from enginehouse.kit.scripts import primary, reads

_MAX_DEPTH = 32
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
    "audio": "recordings are not supported: take <audio> out",
    "phoneme": 'respell the word with <sub alias="...">, or with the request\'s lexicon',
    "lexicon": "use the request's own lexicon instead",
}
_EMPTY = ("break", "mark")
_TEXT_ONLY = ("say-as", "sub")


class SsmlError(ValueError):
    """An SSML document that cannot be spoken.

    Args:
        message: the fault and the fix.
        line: the line, from 1.
        column: the column, from 1, in characters.
    """

    def __init__(self, message: str, *, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.message = message
        self.line = line
        self.column = column


def read_ssml(document: str, *, controls: Controls) -> SpeechDocument:
    """Read an SSML document.

    Args:
        document: the document, with <speak> as its outermost element.
        controls: the voice, language and prosody of its outermost text.

    Raises SsmlError, with the line and the column.
    """
    begin = document.lstrip("\ufeff \t\r\n")
    if not begin.startswith("<"):
        found = f", not with {begin[:20]!r}" if begin else ": it is empty"
        line = document[: len(document) - len(begin)].count("\n") + 1
        raise SsmlError(f"a document must begin with <speak>{found}", line=line, column=1)
    return _Reader(controls=controls).read(document)


@dataclass(slots=True)
class _OpenElement:
    """An open element."""

    name: str
    style: Style
    line: int
    column: int
    override: SpeechOverride | None = None
    text: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, *, controls: Controls) -> None:
        self._voices = controls.voices
        self._find_voice = controls.find_voice
        self._base = Style.of(controls)
        self._open: list[_OpenElement] = []
        self._elements = 0
        self._silence_ms = 0
        self._text: list[str] = []
        self._size = 0
        self._document = SpeechDocument()
        self._starts: Mapping[str, Callable[[_OpenElement, dict[str, str]], None]] = {
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
                    ": only &amp; &lt; &gt; &quot; &apos; and numbers such as &#8377; are supported"
                ),
                expat.errors.codes[expat.errors.XML_ERROR_INVALID_TOKEN]: (": write < as &lt; and & as &amp; in text"),
            }.get(error.code, "")
            message = f"invalid XML: {expat.ErrorString(error.code)}{hint}"
            raise SsmlError(message, line=error.lineno, column=error.offset + 1) from None
        except UnicodeEncodeError as error:
            line = document.count("\n", 0, error.start) + 1
            column = error.start - document.rfind("\n", 0, error.start)
            raise SsmlError("half a surrogate pair: take it out", line=line, column=column) from None
        self._document.text = "".join(self._text)
        return self._document

    def _error(self, message: str) -> SsmlError:
        return SsmlError(message, line=self._parser.CurrentLineNumber, column=self._parser.CurrentColumnNumber + 1)

    def _doctype(self, *_: object) -> None:
        raise self._error("document types and entities are not supported: take <!DOCTYPE> out")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise self._error(f"more than {_MAX_ELEMENTS:,} elements: split the document")
        if name in _REFUSED:
            raise self._error(f"<{name}> is not supported: {_REFUSED[name]}")
        if name not in _ATTRIBUTES:
            raise self._error(f"<{name}> is unknown; these are supported: {', '.join(_ATTRIBUTES)}")
        if not self._open and name != "speak":
            raise self._error(f"the outermost element is <{name}>: put everything into one <speak>...</speak>")
        if self._open and name == "speak":
            raise self._error("<speak> can only be the outermost element")
        if self._open and self._open[-1].name in (*_EMPTY, *_TEXT_ONLY):
            inside = self._open[-1].name
            raise self._error(f"<{inside}> may hold {'nothing' if inside in _EMPTY else 'only text'}, not <{name}>")
        if len(self._open) == _MAX_DEPTH:
            raise self._error(f"<{name}> is more than {_MAX_DEPTH} elements deep")
        for attribute in attributes:
            if attribute not in _ATTRIBUTES[name]:
                known = ", ".join(_ATTRIBUTES[name])
                raise self._error(f"<{name}> has no attribute {attribute!r}; it has: {known}")
        style = self._open[-1].style if self._open else self._base
        line, column = self._parser.CurrentLineNumber, self._parser.CurrentColumnNumber + 1
        element = _OpenElement(name, style, line, column)
        self._starts[name](element, attributes)
        self._add_boundary(name)
        self._open.append(element)

    def _end(self, name: str) -> None:
        element = self._open.pop()
        if element.override is not None:
            self._check(element, element.override)
        self._add_boundary(name)

    def _add_boundary(self, name: str) -> None:
        if name in {"p", "s"}:
            pause_ms = BETWEEN_PARAGRAPHS_MS if name == "p" else BETWEEN_SENTENCES_MS
            self._document.boundaries.append(SentenceBoundary(self._size, pause_ms))

    def _characters(self, text: str) -> None:
        element = self._open[-1]
        if element.name in _EMPTY:
            raise self._error(f"<{element.name}> must be empty, but has the text {text[:20]!r}")
        spans = self._document.spans
        start, self._size = self._size, self._size + len(text)
        self._text.append(text)
        if element.override is not None:
            element.text.append(text)
        if spans and spans[-1].style == element.style and spans[-1].override is element.override:
            spans[-1] = replace(spans[-1], end=self._size)
        else:
            spans.append(StyledSpan(start, self._size, element.style, element.override))

    def _check(self, element: _OpenElement, override: SpeechOverride) -> None:
        """Refuse a text that does not match its element."""
        text = "".join(element.text).strip()
        problem = None
        if not text:
            problem = "it has no text"
        elif override.kind != "sub":
            problem = find_problem(override.kind, text, override.date_format)
        if problem is not None:
            what = f"<{element.name}>" if override.kind == "sub" else f"<say-as interpret-as={override.kind!r}>"
            raise SsmlError(f"{what}: {problem}", line=element.line, column=element.column)

    def _required(self, element: _OpenElement, attributes: dict[str, str], name: str) -> str:
        value = attributes.get(name, "").strip()
        if not value:
            raise self._error(f"<{element.name}> needs the attribute {name!r}")
        return value

    def _invalid(self, element: _OpenElement, attribute: str, value: str, allowed: str) -> SsmlError:
        return self._error(f"<{element.name}> has {attribute}={value[:60]!r}; it takes {allowed}")

    def _language(self, element: _OpenElement, attributes: dict[str, str], attribute: str = "xml:lang") -> None:
        if attribute in attributes:
            tag = values.language(attributes[attribute])
            if tag is None:
                raise self._invalid(
                    element, attribute, attributes[attribute], 'a BCP 47 language tag such as "te" or "en-IN"'
                )
            element.style = replace(element.style, language=tag)

    def _lang(self, element: _OpenElement, attributes: dict[str, str]) -> None:
        self._required(element, attributes, "xml:lang")
        self._language(element, attributes)

    def _voice(self, element: _OpenElement, attributes: dict[str, str]) -> None:
        if any(attributes.get(tag) for tag in ("language", "xml:lang")) and "name" not in attributes:
            # The model's own voice for the language.
            name = ""
        else:
            name = self._find(self._required(element, attributes, "name"))
        gender = attributes.get("gender")
        if gender is not None and gender not in values.GENDERS:
            raise self._invalid(element, "gender", gender, ", ".join(values.GENDERS))
        own = [primary(language) for language in self._voices.get(name, ())]
        language = element.style.language
        if own and primary(language) not in own:
            # The surrounding language is another voice's.
            language = ""
        element.style = replace(element.style, voice=name, language=language)
        self._language(element, attributes, "language")
        self._language(element, attributes)
        if not reads(self._voices.get(name, ()), element.style.language):
            raise self._error(f"<voice>: {name!r} does not speak {element.style.language!r}: leave one of them out")

    def _find(self, name: str) -> str:
        try:
            return self._find_voice(name)
        except UnknownVoice as error:
            raise self._error(f"<voice>: {error}") from None

    def _mark(self, element: _OpenElement, attributes: dict[str, str]) -> None:
        self._document.events.append(MarkElement(self._size, self._required(element, attributes, "name")))

    def _break(self, element: _OpenElement, attributes: dict[str, str]) -> None:
        strength, time = attributes.get("strength", "medium"), attributes.get("time")
        if strength not in values.STRENGTHS:
            raise self._invalid(element, "strength", strength, ", ".join(values.STRENGTHS))
        length: int | None = values.STRENGTHS[strength]
        if time is not None:
            length = values.milliseconds(time.strip())
        if length is None:
            bound = f"at most {values.MAX_BREAK_MS // 1000}s"
            raise self._invalid(element, "time", time or "", f'a time such as "500ms" or "1.5s", {bound}')
        self._silence_ms += length
        if self._silence_ms > _MAX_SILENCE_MS:
            raise self._error(f"the breaks add up to more than {_MAX_SILENCE_MS // 1000} seconds: split the document")
        self._document.events.append(BreakElement(self._size, length))

    def _prosody(self, element: _OpenElement, attributes: dict[str, str]) -> None:
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

    def _emphasis(self, element: _OpenElement, attributes: dict[str, str]) -> None:
        level = attributes.get("level", "moderate")
        if level not in values.EMPHASES:
            raise self._invalid(element, "level", level, ", ".join(values.EMPHASES))
        element.style = replace(element.style, emphasis=values.EMPHASES[level])

    def _say_as(self, element: _OpenElement, attributes: dict[str, str]) -> None:
        kind = self._required(element, attributes, "interpret-as")
        if kind not in KINDS:
            raise self._invalid(element, "interpret-as", kind, ", ".join(KINDS))
        date_format = attributes.get("format", "")
        if date_format and (kind != "date" or date_format not in FORMATS):
            raise self._invalid(element, "format", date_format, f"for dates only, one of {', '.join(FORMATS)}")
        element.override = SpeechOverride(kind, date_format=date_format)

    def _sub(self, element: _OpenElement, attributes: dict[str, str]) -> None:
        alias = self._required(element, attributes, "alias")
        if len(alias) > _MAX_ALIAS_LENGTH:
            raise self._invalid(element, "alias", alias, f"at most {_MAX_ALIAS_LENGTH} characters")
        element.override = SpeechOverride("sub", alias=alias)
