"""What the Hugging Face hub says about a file: its size, its checksum, and where to fetch it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import huggingface_hub
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils._headers import build_hf_headers

from enginehouse.engines.inference.sources import HubFile
from enginehouse.engines.inference.store.errors import StoreError

DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the hub."""

    url: str
    """Where to fetch it; may redirect to storage elsewhere."""
    size_bytes: int
    checksum: str
    """SHA-256 of the content for large files (64 hex digits), else git's SHA-1 of it as a blob (40)."""
    commit: str
    """The commit that the revision stood for."""
    headers: Mapping[str, str]
    """For the hub itself, the user's token included; never for where it redirects to."""


def find_file(file: HubFile, *, environ: Mapping[str, str]) -> Remote:
    """Asks the hub, `HF_ENDPOINT` or the public one, with the token in `HF_TOKEN` or that of the hub's own login.

    Raises StoreError: no such repository, revision or file; terms not accepted; no checksum; nobody there.
    """
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT
    token = environ.get("HF_TOKEN") or None
    where = f"{endpoint}/{file.repository}"
    try:
        url = huggingface_hub.hf_hub_url(file.repository, file.file, revision=file.revision, endpoint=endpoint)
        found = huggingface_hub.get_hf_file_metadata(url, token=token, endpoint=endpoint)
    except hub_errors.GatedRepoError:
        raise StoreError(
            f"the repository {file.repository} is gated: accept its terms at {where} and give your token in HF_TOKEN"
        ) from None
    except hub_errors.RepositoryNotFoundError:
        raise StoreError(
            f"the hub has no repository {file.repository}, or it is private: check {where}, and set HF_TOKEN to a "
            "token that may read it"
        ) from None
    except hub_errors.RevisionNotFoundError:
        raise StoreError(f"the repository {file.repository} has no revision {file.revision!r}: check {where}") from None
    except hub_errors.EntryNotFoundError:
        raise StoreError(
            f"the repository {file.repository} has no file {file.file!r} at {file.revision!r}: see "
            f"{where}/tree/{file.revision}"
        ) from None
    except hub_errors.HFValidationError as error:
        raise StoreError(f"{file.repository!r} is no name of a repository: {error}") from None
    except (hub_errors.HfHubHTTPError, OSError, huggingface_hub.errors.OfflineModeIsEnabled) as error:
        raise StoreError(f"the hub at {endpoint} cannot be asked for {file.file}: {_first_line(error)}") from None
    except Exception as error:
        # The hub's client lets its HTTP library's errors through, whose name is its own affair.
        told = f"{type(error).__name__}: {_first_line(error)}"
        raise StoreError(f"the hub at {endpoint} cannot be reached: {told}") from None
    if not found.etag or len(found.etag) not in (40, 64) or found.size is None or not found.commit_hash:
        raise StoreError(f"{endpoint} gives no checksum, size or commit for {file.file}: it is not a Hugging Face hub")
    headers = {name.lower(): value for name, value in build_hf_headers(token=token).items()}
    return Remote(url, found.size, found.etag, found.commit_hash, headers)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
