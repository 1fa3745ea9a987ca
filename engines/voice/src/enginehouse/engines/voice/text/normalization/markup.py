"""Take out the markup of Markdown and HTML, in every language: voices read it out sign by sign."""

from __future__ import annotations

import html
import re
import unicodedata

_LINE_MARKS = re.compile(
    r"^[ \t]*(?:>+[ \t]*(?![0-9.=]))*[ \t]*(?:(?:[*•‣◦]|-(?![ \t]*-))[ \t]+(?:\[[ xX]\][ \t]+)?|#{1,6}[ \t]+)?",
    re.MULTILINE,
)
_QUOTED_FIGURE = re.compile(r"^[ \t]*>+[ \t]+(?=[0-9])", re.MULTILINE)
_FENCE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})[^\n]{0,80}$", re.MULTILINE)
_TAG = re.compile(
    r"</?(?:a|abbr|article|aside|audio|b|big|blockquote|body|br|button|center|cite|code|dd|del|details|div|dl|dt|em|font|footer"
    r"|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|meta|nav|ol|p|pre|q|s|samp|section"
    r"|small|source|span|strong|style|sub|summary|sup|table|tbody|td|tfoot|th|thead|time|title|tr|tt|u|ul|var|video)"
    r"(?:\s+[A-Za-z_:][\w:.-]{0,60}\s?=\s?(?:\"[^\"]{0,2000}\"|'[^']{0,2000}'|[^\s\"'<>]{1,2000})){0,20}\s?/?>",
    re.IGNORECASE,
)
_RAISED = re.compile(r"<(?P<kind>sup|sub)>(?P<figures>[-−+]?[0-9]{1,9})</(?:sup|sub)>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.{0,2000}?-->")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^\s<>]{1,2000}|[\w.+-]{1,64}@[\w.-]{1,200})>")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,20}[0-9]{0,2});")
_LINK = re.compile(
    r"!?\[(?P<label>[^\[\]]{0,500})\](?:\((?=[^()\s]{0,2000}[/.#:])(?:[^()\s]|\([^()\s]{0,200}\)){1,2000}"
    r"(?:\s\"[^\"]{0,200}\")?\)|\[[^\[\]]{1,100}\])"
)
_CELLS = re.compile(r"\s*\|+\s*(?:[:-]{3,}\s*\|+\s*)*")
_TO_RAISED = str.maketrans("0123456789-−+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁻⁺")


def strip_line_marks(text: str) -> str:
    """Return a text without what begins its lines: the marks of quotations, list items, headings and code."""
    text = _FENCE.sub("", text)
    return _LINE_MARKS.sub("", _QUOTED_FIGURE.sub("", text))


def strip_markup(text: str) -> str:
    """Return a text without tags, character references, link targets and the edges of table cells."""
    if "<" in text:
        text = _AUTOLINK.sub(r" \1 ", _TAG.sub(" ", _RAISED.sub(_raise, _COMMENT.sub(" ", text))))
    if "&" in text and ";" in text:
        text = _ENTITY.sub(_character, text)
    if "](" in text or "][" in text:
        text = _LINK.sub(lambda match: match["label"], text)
    if text.count("|") > 1:
        text = _CELLS.sub(_cell_edge, text)
    return text


def _raise(match: re.Match[str]) -> str:
    figures = match["figures"]
    return figures.translate(_TO_RAISED) if match["kind"].lower() == "sup" else figures


def _character(match: re.Match[str]) -> str:
    """Return the character that is referred to; a space for one that is never spoken."""
    found = html.unescape(match.group())
    if found == match.group():
        return found
    return "".join(character if unicodedata.category(character)[0] in "LNPSM" else " " for character in found)


def _cell_edge(match: re.Match[str]) -> str:
    if not match.string[: match.start()].strip() or not match.string[match.end() :].strip():
        return " "
    return ", "
