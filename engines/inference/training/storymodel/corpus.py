"""Reading of the public texts: clean them, and set the held-out stories aside before anything else.

Only this module knows the layout of the data folder: ``novels_en/*.txt``, ``stories_en/NNNN_*.md``,
``stories_te/NNNN_*.md`` and ``classics_te/<work>/**``. It knows nothing about prompts or tokens.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["en", "te"]

HELD_OUT_MODULUS = 10
HELD_OUT_REMAINDER = 3
OVERLAP_WORDS = 8
TELUGU_PROSE = ("siva_puranam",)
STORYLIKE_NOVELS = (
    "Burnett_", "Ward_Milly", "Morris_", "Stevenson_", "Kipling_Captains", "Haggard_Mines",
    "Doyle_Lost", "Kipling_Kim",
)  # fmt: skip

_CREDIT = re.compile(r"^\W*(License|Text|Illustrat(?:ions?|ors?)|Translation|Language|Photographs?)\s*:", re.I)
_SPACES = re.compile(r"[ \t\u00a0]+")
_INVISIBLE = re.compile("[\ufeff\u200b\u2060\u00ad]")
_WORD = re.compile(r"[^\W\d_]+")
_WHOLE_WORD = re.compile(r"[^\W\d_\u0c00-\u0c7f]+|[\u0c00-\u0c7f\u200c]+")
_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "―": "—"})


@dataclass(frozen=True, kw_only=True)
class Document:
    """One cleaned text: a story, a novel or a chapter."""

    source: str
    language: Language
    title: str
    paragraphs: tuple[str, ...]
    number: int | None = None
    """The story's number; the same in both languages. None for novels and classics."""

    @property
    def text(self) -> str:
        """All paragraphs, one a line."""
        return "\n".join(self.paragraphs)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The training documents by kind, and the stories that are never trained on."""

    novels: tuple[Document, ...]
    stories_en: tuple[Document, ...]
    stories_te: tuple[Document, ...]
    classics_te: tuple[Document, ...]
    held_out: tuple[Document, ...]


def is_held_out(number: int) -> bool:
    """Return whether the story of this number is kept for evaluation, in both languages."""
    return number % HELD_OUT_MODULUS == HELD_OUT_REMAINDER


def clean_line(line: str) -> str:
    """One line with plain quotation marks, single spaces and nothing invisible."""
    return _SPACES.sub(" ", _INVISIBLE.sub("", html.unescape(line)).translate(_QUOTES)).strip()


def clean_paragraphs(text: str) -> tuple[str, ...]:
    """Paragraphs of a hard-wrapped or plain text: blank lines separate them."""
    blocks = re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
    joined = (" ".join(filter(None, map(clean_line, block.split("\n")))) for block in blocks)
    return tuple(paragraph for paragraph in joined if paragraph)


def parse_story(markdown: str) -> tuple[str, tuple[str, ...]]:
    """Title and paragraphs of a picture-book file, without its credit lines and page marks."""
    title = ""
    body: list[str] = []
    for line in markdown.replace("\r\n", "\n").split("\n"):
        stripped = clean_line(line)
        if _CREDIT.match(stripped):
            continue
        if line.startswith("# ") and not title:
            title = stripped[2:].strip()
        elif stripped.startswith("#"):
            body.append("")
        else:
            body.append(stripped)
    return title, clean_paragraphs("\n".join(body))


def read_stories(folder: Path, *, language: Language) -> list[Document]:
    """Every story of a folder, in the order of its number."""
    stories = []
    for path in sorted(folder.glob("*.md")):
        title, paragraphs = parse_story(path.read_text(encoding="utf-8"))
        if paragraphs:
            stories.append(
                Document(
                    source=f"{folder.name}/{path.name}",
                    language=language,
                    title=title,
                    paragraphs=paragraphs,
                    number=int(path.name.split("_", 1)[0]),
                )
            )
    return stories


def is_heading(paragraph: str) -> bool:
    """Return whether a paragraph is a chapter heading or another line mostly in capitals."""
    letters = [character for character in paragraph if character.isalpha()]
    capitals = sum(character.isupper() for character in letters)
    return capitals > 0.3 * len(letters) or not letters or paragraph.lower().startswith("chapter ")


def read_novels(folder: Path) -> list[Document]:
    """Every novel of a folder; chapter headings and the like are dropped."""
    novels = []
    for path in sorted(folder.glob("*_*.txt")):
        paragraphs = clean_paragraphs(path.read_text(encoding="utf-8", errors="replace"))
        kept = tuple(paragraph for paragraph in paragraphs if not is_heading(paragraph))
        novels.append(Document(source=f"{folder.name}/{path.name}", language="en", title=path.stem, paragraphs=kept))
    return novels


def read_classics(folder: Path, *, works: Sequence[str] = TELUGU_PROSE) -> list[Document]:
    """Telugu chapters of the named works; the rest is verse, or Sanskrit in Telugu letters."""
    chapters = []
    for work in works:
        for path in sorted(p for p in (folder / work).rglob("*") if p.is_file()):
            paragraphs = clean_paragraphs(path.read_text(encoding="utf-8", errors="replace"))
            if paragraphs:
                source = path.relative_to(folder.parent).as_posix()
                chapters.append(Document(source=source, language="te", title=path.name, paragraphs=paragraphs))
    return chapters


def plain_words(text: str) -> str:
    """The words of a text in lower case with one space around each."""
    return f" {' '.join(_WHOLE_WORD.findall(text.lower()))} "


def word_runs(text: str, *, length: int) -> set[tuple[str, ...]]:
    """Every run of ``length`` consecutive words, in lower case.

    A Telugu word counts as several, one more for each vowel sign: the check is stricter there.
    """
    words = _WORD.findall(text.lower())
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def without_overlap(
    documents: Iterable[Document], held_out: Iterable[Document], *, allowed: float = 0.02
) -> list[Document]:
    """The documents of which at most a share ``allowed`` of the word runs occur in ``held_out``."""
    forbidden: set[tuple[str, ...]] = set()
    for document in held_out:
        forbidden |= word_runs(document.text, length=OVERLAP_WORDS)
    kept = []
    for document in documents:
        runs = word_runs(document.text, length=OVERLAP_WORDS)
        if len(runs & forbidden) <= allowed * max(1, len(runs)):
            kept.append(document)
    return kept


def without_repeats(documents: Iterable[Document], *, allowed: float = 0.5) -> list[Document]:
    """The documents that are not mostly made of runs seen in an earlier one."""
    seen: set[tuple[str, ...]] = set()
    kept = []
    for document in documents:
        runs = word_runs(document.text, length=OVERLAP_WORDS)
        if len(runs & seen) <= allowed * max(1, len(runs)):
            kept.append(document)
            seen |= runs
    return kept


def load_corpus(folder: Path) -> Corpus:
    """Read the data folder; held-out stories and whatever repeats them leave the training part."""
    stories = {language: read_stories(folder / f"stories_{language}", language=language) for language in ("en", "te")}
    held_out = [s for group in stories.values() for s in group if is_held_out(s.number or 0)]
    training = {
        language: without_overlap(without_repeats(s for s in group if not is_held_out(s.number or 0)), held_out)
        for language, group in stories.items()
    }
    return Corpus(
        novels=tuple(read_novels(folder / "novels_en")),
        stories_en=tuple(training["en"]),
        stories_te=tuple(training["te"]),
        classics_te=tuple(read_classics(folder / "classics_te")),
        held_out=tuple(held_out),
    )
