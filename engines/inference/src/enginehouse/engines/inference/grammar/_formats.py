"""Formats of texts, each as a pattern that every common reader of the format takes."""

from __future__ import annotations

from collections.abc import Mapping

# No reader's calendar has the year 0, and most know leap years.
_LEAP = r"(?:\d\d(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)"
_DATE = (
    rf"(?!0000)(?:\d{{4}}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    rf"|02-(?:0[1-9]|1\d|2[0-8]))|{_LEAP}-02-29)"
)
_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)"
_COUNT = r"(?:0|[1-9]\d{0,5})"
_TIME_PART = rf"T(?:{_COUNT}H(?:{_COUNT}M(?:{_COUNT}S)?)?|{_COUNT}M(?:{_COUNT}S)?|{_COUNT}S)"
_DATE_PART = rf"(?:{_COUNT}Y(?:{_COUNT}M(?:{_COUNT}D)?)?|{_COUNT}M(?:{_COUNT}D)?|{_COUNT}D)"
_ALNUM = "[A-Za-z0-9]"
# Two hyphens together are left to encoded names ("xn--").
_NAME = rf"{_ALNUM}+(?:-{_ALNUM}+)*"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_GROUP = "[0-9A-Fa-f]{1,4}"
_IPV6 = (
    "(?:" + "|".join(
        [rf"(?:{_GROUP}:){{7}}{_GROUP}", rf"(?:{_GROUP}:){{6}}{_IPV4}"]
        + [rf"(?:{_GROUP}(?::{_GROUP}){{0,{before - 1}}})?::(?:{_GROUP}(?::{_GROUP}){{0,{6 - before}}})?"
           for before in range(1, 7)]
        + [rf"(?:{_GROUP}(?::{_GROUP}){{0,6}})::", rf"::(?:{_GROUP}(?::{_GROUP}){{0,6}})"]
        + [rf"(?:{_GROUP}(?::{_GROUP}){{0,{before - 1}}})?::(?:{_GROUP}:){{0,{5 - before}}}{_IPV4}"
           for before in range(1, 6)]
    ) + ")"
)  # fmt: skip
_HEX = "[0-9a-fA-F]"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_PERCENT = "%[0-9A-Fa-f]{2}"
_PATH_CHARACTER = rf"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|{_PERCENT})"
_TAIL = rf"(?:\?(?:{_PATH_CHARACTER}|[/?])*)?(?:#(?:{_PATH_CHARACTER}|[/?])*)?"
_HOST = rf"(?:(?:{_NAME}\.)*[A-Za-z]{_ALNUM}*(?:-{_ALNUM}+)*|{_IPV4})"
_URI = (
    rf"(?:(?:https?|wss?|ftps?|sftp|ssh|git|file|ldaps?|s3|gs|postgres|postgresql|redis|mysql|mongodb)"
    rf"://{_HOST}(?::[1-9]\d{{0,3}})?(?:/{_PATH_CHARACTER}*)*{_TAIL}"
    rf"|(?:mailto|tel|urn|news|sms|geo|doi|isbn|tag):{_PATH_CHARACTER}(?:{_PATH_CHARACTER}|/)*)"
)
_POINTER = r"(?:/(?:[^~/]|~[01])*)*"
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"

FORMATS: Mapping[str, str] = {
    "date": f"^{_DATE}$",
    "time": f"^{_CLOCK}$",
    "date-time": f"^{_DATE}T{_CLOCK}$",
    "duration": rf"^P(?:{_COUNT}W|{_DATE_PART}(?:{_TIME_PART})?|{_TIME_PART})$",
    "ipv4": f"^{_IPV4}$",
    "ipv6": f"^{_IPV6}$",
    **{
        f"uuid{version}": rf"^{_HEX}{{8}}-{_HEX}{{4}}-{version}{_HEX}{{3}}-[89abAB]{_HEX}{{3}}-{_HEX}{{12}}$"
        for version in range(1, 9)
    },
    "uuid": "^[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
    "email": "",
    "hostname": "",
    "uri": f"^{_URI}$",
    "uri-reference": rf"^(?:{_URI}|(?:/{_PATH_CHARACTER}+)*/?{_TAIL}|\.{{1,2}}(?:/{_PATH_CHARACTER}+)*/?{_TAIL}"
    rf"|[A-Za-z0-9\-._~]+(?:/{_PATH_CHARACTER}+)*/?{_TAIL})$",
    "json-pointer": f"^{_POINTER}$",
    "relative-json-pointer": rf"^(?:0|[1-9]\d{{0,8}})(?:#|{_POINTER})$",
    "base64": f"^{_BASE64}$",
    "base64url": r"^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2,3})?$",
    "e164": r"^\+[1-9]\d{6,14}$",
    "cidrv4": rf"^{_IPV4}/(?:3[0-2]|[12]?\d)$",
    "cidrv6": rf"^{_IPV6}/(?:12[0-8]|1[01]\d|[1-9]?\d)$",
    "int32": r"^(?:0|-?[1-9]\d{0,8})$",
    "int64": r"^(?:0|-?[1-9]\d{0,17})$",
    "uint32": r"^(?:0|[1-9]\d{0,8})$",
    "uint64": r"^(?:0|[1-9]\d{0,18})$",
}
"""The pattern of each format; those of `email` and `hostname` depend on the room that there is."""


def sized_pattern(name: str, most: int | None) -> str | None:
    """Return the pattern of a format, for texts of at most so many characters if its parts share them; None for an
    unknown format.
    """
    if name == "email":
        return _email(253 if most is None else min(most, 253))
    if name == "hostname":
        return _hostname(253 if most is None else min(most, 253))
    if name == "uri" and most is not None:
        return _sized_uri(most)
    return FORMATS.get(name)


def _label(size: int) -> str:
    return rf"(?=[A-Za-z0-9-]{{1,{size}}}(?![A-Za-z0-9-])){_NAME}"


def _labels(count: int, size: int) -> str:
    """Return up to so many labels of a host's name, each with its dot."""
    whole = ""
    for _ in range(count):
        whole = rf"(?:{_label(size)}\.{whole})?"
    return whole


def _email(most: int) -> str:
    local = max(1, min(64, (most - 5) // 2))
    domain = most - local - 1
    top = max(2, min(24, domain // 4))
    count = 1 if domain < 40 else 2 if domain < 80 else 4
    size = max(1, min(40, (domain - top) // count - 1))
    more = _labels(count - 1, size)
    return rf"^(?=[^@]{{1,{local}}}@){_ATOM}+(?:\.{_ATOM}+)*@{more}{_label(size)}\.[A-Za-z]{{2,{top}}}$"


def _hostname(most: int) -> str:
    if most < 63:
        return rf"^(?=.{{1,{most}}}$)(?:{_NAME}\.)*{_NAME}$"
    count = max(1, min(3, most // 64 - 1))
    return rf"^{_labels(count, 63)}(?=[A-Za-z0-9-]{{1,{min(63, most - 64 * count)}}}$){_NAME}$"


def _sized_uri(most: int) -> str:
    """Return addresses whose only part without a bound is the path and query, which then share what is left."""
    host = max(4, min(80, most // 2))
    return (
        rf"^(?:https?|wss?|ftps?|sftp|ssh|git|s3|gs)://(?=[A-Za-z0-9.-]{{1,{host}}}(?![A-Za-z0-9.-])){_HOST}"
        r"(?::[1-9]\d{0,3})?(?:[/?][A-Za-z0-9\-._~!$&'()*+,;=:@/?]*)?$"
    )


SAME_AS: Mapping[str, str] = {
    "idn-email": "email",
    "idn-hostname": "hostname",
    "iri": "uri",
    "url": "uri",
    "iri-reference": "uri-reference",
    "byte": "base64",
    "guid": "uuid",
    "datetime": "date-time",
    "multi-host-uri": "uri",
    "ipv4network": "cidrv4",
    "ipv6network": "cidrv6",
    "ipv4interface": "cidrv4",
    "ipv6interface": "cidrv6",
    "ipvanyaddress": "ipv4",
    "ipvanynetwork": "cidrv4",
    "ipvanyinterface": "cidrv4",
}
"""Formats that are written as another one, whose texts they take too."""

# How a text is shown or kept, not what it may be.
FREE_FORMATS = frozenset(
    {"password", "binary", "path", "file-path", "directory-path", "textarea", "multiline", "markdown", "html"}
)

WHOLE_RANGES: Mapping[str, tuple[int, int]] = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}
"""Formats of whole numbers."""
