"""Multipart forms (RFC 7578), read where they lie: a form is mostly one large file, and two processes look at it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from enginehouse.kit.errors import FieldViolation, Reason, ServiceError
from enginehouse.kit.validation import shorten

# RFC 2046 allows no longer boundary.
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
        """The values of a text field. Raises INVALID_REQUEST for a file, for what is not UTF-8 and for over 64 KiB."""
        return [_text(part) for part in self.parts if part.name == name]

    def text(self, name: str) -> str | None:
        """The one value of a text field, None where it is absent. Raises INVALID_REQUEST where it comes twice."""
        found = self.texts(name)
        if len(found) > 1:
            raise _refused(f"{name}: is given {len(found)} times; give it once", name)
        return found[0] if found else None

    def file(self, name: str) -> FormPart | None:
        """The one file of that name, None where it is absent. Raises INVALID_REQUEST for a text, or two files."""
        found = [part for part in self.parts if part.name == name]
        if len(found) > 1:
            raise _refused(f"{name}: is given {len(found)} times; send one file", name)
        if found and found[0].filename is None:
            raise _refused(f"{name}: is a text and must be a file; with curl, -F {name}=@PATH", name)
        return found[0] if found else None


def read_form(content_type: str, body: bytes | memoryview) -> MultipartForm:
    """Reads a form. The time is that of looking for the boundary; nothing is copied but the parts' headers.

    Args:
        content_type: the request's header, with the boundary.
        body: the whole body.

    Raises:
        ServiceError: INVALID_REQUEST that says what is wrong: another content type, no boundary, a part that does not
            end, a part without a name, more than 64 parts.
    """
    if not content_type.lower().startswith("multipart/form-data"):
        raise _refused(f"the content type is {shorten(content_type)} and must be multipart/form-data, with a boundary")
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise _refused(f"the content type {shorten(content_type)} names no boundary of 1 to 70 characters")
    line = b"--" + (match[1] or match[2]).encode("latin-1", "replace")
    data = bytes(body) if isinstance(body, memoryview) else body
    view = memoryview(data)
    # Before the first boundary there may be a preamble, which means nothing.
    at = 0
    if not (data.startswith(line) and _ends(data, len(line))):
        at = _boundary(data, line, 0) + 2
    if at == 1:
        raise _refused(f"the body has no part: the boundary {shorten(line.decode('latin-1'))} is not in it")
    parts: list[FormPart] = []
    while True:
        at += len(line)
        if data.startswith(b"--", at):
            return MultipartForm(parts)
        if len(parts) == _MAX_PARTS:
            raise _refused(f"the form has more than {_MAX_PARTS} parts")
        begin = data.find(b"\r\n", at)
        head_end = data.find(b"\r\n\r\n", begin, begin + _MAX_HEADER_BYTES) if begin >= 0 else -1
        if head_end < 0:
            raise _refused(f"part {len(parts) + 1} has no end of its headers; the form is cut off or malformed")
        end = _boundary(data, line, head_end + 2)
        if end < 0:
            raise _refused(f"part {len(parts) + 1} has no end; the form is cut off")
        parts.append(_part(data[begin + 2 : head_end], view[head_end + 4 : max(end, head_end + 4)], len(parts) + 1))
        at = end + 2


def _boundary(data: bytes, line: bytes, at: int) -> int:
    """Where the line end before the next boundary is, from a place on; -1 for none."""
    while (at := data.find(b"\r\n" + line, at)) >= 0:
        if _ends(data, at + 2 + len(line)):
            return at
        at += 2
    return -1


def _ends(data: bytes, at: int) -> bool:
    """Whether a boundary may end at a place: with the form's end, or with its line, which blanks may pad."""
    return data.startswith(b"--", at) or data[at : at + 256].lstrip(b" \t").startswith(b"\r\n")


def _part(head: bytes, data: memoryview, number: int) -> FormPart:
    values: Mapping[str, str] = {}
    for row in head.decode("utf-8", "replace").split("\r\n"):
        key, _, rest = row.partition(":")
        if key.strip().lower() == "content-disposition":
            values = {found[1].lower(): _unquoted(found[2], found[3]) for found in _PARAMETER.finditer(rest)}
    if not values.get("name"):
        raise _refused(f"part {number} has no name in its Content-Disposition header")
    filename = values.get("filename", values.get("filename*"))
    return FormPart(values["name"], filename, data)


def _unquoted(quoted: str | None, plain: str | None) -> str:
    return re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain or ""


def _text(part: FormPart) -> str:
    if part.filename is not None:
        raise _refused(f"{part.name}: is a file and must be a text", part.name)
    if len(part.data) > _MAX_TEXT_BYTES:
        raise _refused(f"{part.name}: has {len(part.data)} bytes; at most {_MAX_TEXT_BYTES} are taken", part.name)
    try:
        return str(part.data, "utf-8")
    except UnicodeDecodeError as error:
        raise _refused(f"{part.name}: is not UTF-8 at byte {error.start}", part.name) from None


def _refused(message: str, param: str = "") -> ServiceError:
    violations = [FieldViolation(param, message)] if param else []
    return ServiceError(Reason.INVALID_REQUEST, message, violations=violations)
