"""Multipart forms (RFC 7578), read in place: a form is mostly one large file, and two processes look at it.

By hand, and not by python-multipart: that copies each file, into memory or onto the disk, for every process that reads
it; the router needs no more of a recording than its headers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.validation import shorten

# The longest boundary that RFC 2046 allows.
_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,70})"|([^;,\s"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r'([a-z*]+)=(?:"((?:[^"\\\r\n]|\\.)*)"|([^;\s]+))', re.IGNORECASE)
_MAX_PARTS = 64
_MAX_HEADER_BYTES = 8192
_MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class FormPart:
    """One field of a form: a text or a file.

    Attributes:
        name: the field's name.
        filename: the file's name as its sender gave it; None for a text.
        data: its bytes, a view of the form's.
    """

    name: str
    filename: str | None
    data: memoryview


@dataclass(frozen=True, slots=True)
class MultipartForm:
    """The fields of a form, in their order; a name may come several times."""

    parts: Sequence[FormPart]

    def texts(self, name: str) -> Sequence[str]:
        """Return the values of a text field; raise INVALID_REQUEST for a file, invalid UTF-8 or over 64 KiB."""
        return [_text(part) for part in self.parts if part.name == name]

    def text(self, name: str) -> str | None:
        """Return the one value of a text field, None if it is absent; raise INVALID_REQUEST if it comes twice."""
        found = self.texts(name)
        if len(found) > 1:
            raise _refused(f"{name}: given {len(found)} times; give it once", name)
        return found[0] if found else None

    def file(self, name: str) -> FormPart | None:
        """Return the one file of that name, None if it is absent; raise INVALID_REQUEST for a text, or two files."""
        found = [part for part in self.parts if part.name == name]
        if len(found) > 1:
            raise _refused(f"{name}: given {len(found)} times; send one file", name)
        if found and found[0].filename is None:
            raise _refused(f"{name}: a text, but must be a file; with curl, -F {name}=@PATH", name)
        return found[0] if found else None


def read_form(content_type: str, body: bytes | memoryview) -> MultipartForm:
    """Read a form. This takes the time of a search for the boundary; only the parts' headers are copied.

    Args:
        content_type: the request's header, with the boundary.
        body: the whole body.

    Raises:
        ServiceError: INVALID_REQUEST for another content type, no boundary, a part that does not end, a part without
            a name, or more than 64 parts.
    """
    if not content_type.lower().startswith("multipart/form-data"):
        raise _refused(f"invalid content type {shorten(content_type)}: must be multipart/form-data, with a boundary")
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise _refused(f"invalid content type {shorten(content_type)}: it names no boundary of 1 to 70 characters")
    line = b"--" + (match[1] or match[2]).encode("latin-1", "replace")
    data = bytes(body) if isinstance(body, memoryview) else body
    view = memoryview(data)
    # A preamble before the first boundary has no meaning.
    at = 0
    if not (data.startswith(line) and _ends(data, len(line))):
        at = _boundary(data, line, 0) + 2
    if at == 1:
        raise _refused(f"empty form: the boundary {shorten(line.decode('latin-1'))} is not in the body")
    parts: list[FormPart] = []
    while True:
        at += len(line)
        if data.startswith(b"--", at):
            return MultipartForm(parts)
        if len(parts) == _MAX_PARTS:
            raise _refused(f"too many parts in the form: over {_MAX_PARTS}")
        begin = data.find(b"\r\n", at)
        head_end = data.find(b"\r\n\r\n", begin, begin + _MAX_HEADER_BYTES) if begin >= 0 else -1
        if head_end < 0:
            raise _refused(f"part {len(parts) + 1}: the headers have no end; the form is cut off or malformed")
        end = _boundary(data, line, head_end + 2)
        if end < 0:
            raise _refused(f"part {len(parts) + 1}: no end; the form is cut off")
        parts.append(_part(data[begin + 2 : head_end], view[head_end + 4 : max(end, head_end + 4)], len(parts) + 1))
        at = end + 2


def _boundary(data: bytes, line: bytes, at: int) -> int:
    """Return the offset of the line end before the next boundary, from an offset on; -1 if there is none."""
    while (at := data.find(b"\r\n" + line, at)) >= 0:
        if _ends(data, at + 2 + len(line)):
            return at
        at += 2
    return -1


def _ends(data: bytes, at: int) -> bool:
    """Return whether a boundary may end at an offset: with the form's end, or with its line, which blanks may pad."""
    return data.startswith(b"--", at) or data[at : at + 256].lstrip(b" \t").startswith(b"\r\n")


def _part(head: bytes, data: memoryview, number: int) -> FormPart:
    values: Mapping[str, str] = {}
    for row in head.decode("utf-8", "replace").split("\r\n"):
        key, _, rest = row.partition(":")
        if key.strip().lower() == "content-disposition":
            values = {found[1].lower(): _unquoted(found[2], found[3]) for found in _PARAMETER.finditer(rest)}
    if not values.get("name"):
        raise _refused(f"part {number}: no name in its Content-Disposition header")
    filename = values.get("filename", values.get("filename*"))
    return FormPart(values["name"], filename, data)


def _unquoted(quoted: str | None, plain: str | None) -> str:
    return re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain or ""


def _text(part: FormPart) -> str:
    if part.filename is not None:
        raise _refused(f"{part.name}: a file, but must be a text", part.name)
    if len(part.data) > _MAX_TEXT_BYTES:
        raise _refused(
            f"{part.name}: too long: {len(part.data)} bytes; at most {_MAX_TEXT_BYTES} are allowed", part.name
        )
    try:
        return str(part.data, "utf-8")
    except UnicodeDecodeError as error:
        raise _refused(f"{part.name}: invalid UTF-8 at byte {error.start}", part.name) from None


def _refused(message: str, param: str = "") -> ServiceError:
    violations = [FieldViolation(param, message)] if param else []
    return ServiceError(Reason.INVALID_REQUEST, message, violations=violations)
