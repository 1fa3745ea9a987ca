"""Pages of lists: sizes, and tokens that say where the next one begins and of which list."""

from __future__ import annotations

import base64
import binascii

from enginehouse.kit.validation import invalid

DEFAULT_SIZE = 100
MAX_SIZE = 1000


def page_size(asked: int) -> int:
    """Return the number of entries to send. Raises INVALID_REQUEST for a size that is negative or over 1,000."""
    if not 0 <= asked <= MAX_SIZE:
        raise invalid("page_size", f"{asked} must be from 0 to {MAX_SIZE}")
    return asked or DEFAULT_SIZE


def page_token(listing: str, after: str) -> str:
    """The token of the page of this listing that begins after this entry."""
    return base64.urlsafe_b64encode(f"{listing}\n{after}".encode()).decode().rstrip("=")


def page_start(token: str, listing: str) -> str:
    """The entry after which the page begins, or an empty string for the first page.

    Raises:
        ServiceError: INVALID_REQUEST for a token that is not of this listing, filters included.
    """
    if not token:
        return ""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise invalid("page_token", "is not a token of ours; leave it empty for the first page") from None
    found, _, after = text.partition("\n")
    if found != listing or not after:
        raise invalid("page_token", "is of another listing; keep the filters as they were, or leave it empty")
    return after


def ordinal_start(token: str, listing: str) -> int:
    """The same for listings in the order of creation; 0 for the first page."""
    after = page_start(token, listing)
    if after and not (after.isdecimal() and len(after) < 19):
        raise invalid("page_token", "is not a token of ours; leave it empty for the first page")
    return int(after or 0)
