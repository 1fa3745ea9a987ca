"""Forms as clients send them, and as nobody should."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.multipart import read_form


def encoded(files: object, data: object = None) -> tuple[str, bytes]:
    request = httpx.Request("POST", "http://x", files=files, data=data)  # type: ignore[arg-type]
    return request.headers["content-type"], request.read()


@given(st.binary(max_size=2000), st.text(max_size=50))
def test_what_a_client_sends_is_read(data: bytes, text: str) -> None:
    kind, body = encoded({"file": ("a.wav", data)}, {"model": "m", "prompt": text, "grain[]": ["word", "segment"]})
    form = read_form(kind, body)
    file = form.file("file")
    assert file is not None
    assert (bytes(file.data), file.filename) == (data, "a.wav")
    assert (form.text("model"), form.text("prompt"), form.text("nothing")) == ("m", text, None)
    assert form.texts("grain[]") == ["word", "segment"]


def test_a_file_is_not_copied() -> None:
    kind, body = encoded({"file": ("a", b"x" * 10_000)})
    file = read_form(kind, body).file("file")
    assert file is not None
    assert file.data.obj is body


def test_names_are_unescaped_and_line_ends_in_files_are_kept() -> None:
    body = (
        b'preamble\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a \\"b\\".wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\n\r\n--bb\r\nnot the boundary--b\r\n\r\n--b \r\n"
        b"content-disposition: form-data; name=model\r\n\r\n\r\n--b--\r\nepilogue"
    )
    form = read_form('multipart/form-data; boundary="b"', body)
    file = form.file("file")
    assert file is not None
    assert file.filename == 'a "b".wav'
    assert bytes(file.data) == b"\r\n--bb\r\nnot the boundary--b\r\n"
    kind = "multipart/form-data; boundary=xyz"
    body = b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="g"\r\n\r\na\r\n--xy\r\nb\r\n--xyz--'
    file = read_form(kind, body).file("f")
    assert file is not None
    assert bytes(file.data) == b"a\r\n--xy\r\nb"


PART = b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nv\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "hint"),
    [
        ("application/json", b"{}", "must be multipart/form-data"),
        ("multipart/form-data", PART, "names no boundary"),
        ("multipart/form-data; boundary=b", b"", "is not in the body"),
        ("multipart/form-data; boundary=b", b"--", "is not in the body"),
        ("multipart/form-data; boundary=b", PART, "part 1: no end; the form is cut off"),
        ("multipart/form-data; boundary=b", PART + b"--b\r\nA: b", "part 2: the headers have no end"),
        ("multipart/form-data; boundary=b", b"--b\r\nA: b\r\n", "part 1: the headers have no end"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\nv', "no end"),
        ("multipart/form-data; boundary=b", b"--b\r\nA: b\r\n\r\nv\r\n--b--", "part 1: no name"),
        ("multipart/form-data; boundary=b", PART * 65 + b"--b--", "too many parts in the form: over 64"),
    ],
)
def test_what_is_no_form_is_refused(kind: str, body: bytes, hint: str) -> None:
    with pytest.raises(ServiceError, match=hint) as refused:
        read_form(kind, body)
    assert refused.value.reason is Reason.INVALID_REQUEST


def test_fields_of_the_wrong_kind_are_named() -> None:
    kind, body = encoded({"model": ("m", b"x"), "file": (None, b"text")}, {})
    form = read_form(kind, body)
    with pytest.raises(ServiceError, match="model: a file, but must be a text"):
        form.text("model")
    with pytest.raises(ServiceError, match="file: a text, but must be a file"):
        form.file("file")
    kind, body = encoded({"a": (None, b"\xff"), "b": (None, b"x" * 70_000)}, {})
    form = read_form(kind, body)
    with pytest.raises(ServiceError, match="invalid UTF-8 at byte 0"):
        form.text("a")
    with pytest.raises(ServiceError, match="at most 65536"):
        form.text("b")
    twice = read_form("multipart/form-data; boundary=b", PART * 2 + b"--b--")
    with pytest.raises(ServiceError, match="n: given 2 times"):
        twice.text("n")


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(noise: bytes) -> None:
    for body in (noise, PART + noise, b"--b\r\n" + noise + b"\r\n\r\n--b--"):
        try:
            read_form("multipart/form-data; boundary=b", body)
        except ServiceError as error:
            assert error.reason is Reason.INVALID_REQUEST
