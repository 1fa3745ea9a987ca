"""The Hugging Face hub's metadata of a file: its size, its checksum, and its address."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import huggingface_hub
from huggingface_hub import errors as hub_errors
from huggingface_hub.utils._headers import build_hf_headers

from enginehouse.engines.inference.store.errors import StoreError
from enginehouse.kit.backends.sources import HubFile, HubRepository

DEFAULT_ENDPOINT = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class Remote:
    """A file on the hub."""

    url: str
    """Its address, which may redirect to storage elsewhere."""
    size_bytes: int
    checksum: str
    """SHA-256 of the content for large files (64 hex digits), else git's SHA-1 of it as a blob (40)."""
    commit: str
    """The commit of the revision."""
    headers: Mapping[str, str]
    """Headers for the hub itself, including the user's token; never sent to the target of a redirect."""


def find_file(file: HubFile, *, environ: Mapping[str, str]) -> Remote:
    """Ask the hub, `HF_ENDPOINT` or the public one, with the token in `HF_TOKEN` or that of the hub's own login.

    Raises:
        StoreError: there is no such repository, revision or file; its terms are not accepted; it has no checksum; the
            hub does not answer.
    """
    endpoint, token = _endpoint(environ), environ.get("HF_TOKEN") or None
    with _said(endpoint, file.repository, file.revision, file.file):
        url = huggingface_hub.hf_hub_url(file.repository, file.file, revision=file.revision, endpoint=endpoint)
        found = huggingface_hub.get_hf_file_metadata(url, token=token, endpoint=endpoint)
    if not found.etag or len(found.etag) not in (40, 64) or found.size is None or not found.commit_hash:
        raise StoreError(f"{endpoint} gives no checksum, size or commit for {file.file}: it is not a Hugging Face hub")
    headers = {name.lower(): value for name, value in build_hf_headers(token=token).items()}
    return Remote(url, found.size, found.etag, found.commit_hash, headers)


def list_files(repository: HubRepository, *, environ: Mapping[str, str]) -> list[str]:
    """Return the files of a repository, by name, without those for people and for git.

    Raises:
        StoreError: as `find_file` does.
    """
    endpoint, token = _endpoint(environ), environ.get("HF_TOKEN") or None
    with _said(endpoint, repository.name, repository.revision, "its list of files"):
        hub = huggingface_hub.HfApi(endpoint=endpoint, token=token)
        names = hub.list_repo_files(repository.name, revision=repository.revision)
    found = sorted(name for name in names if not name.startswith(".") and not name.lower().endswith(".md"))
    if not found:
        raise StoreError(f"the repository {repository.name} has no files at {repository.revision!r}")
    return found


def _endpoint(environ: Mapping[str, str]) -> str:
    return environ.get("HF_ENDPOINT", "").rstrip("/") or DEFAULT_ENDPOINT


@contextlib.contextmanager
def _said(endpoint: str, repository: str, revision: str, file: str) -> Iterator[None]:
    """Translate the hub's refusals into StoreErrors with the fix."""
    where = f"{endpoint}/{repository}"
    try:
        yield
    except hub_errors.GatedRepoError:
        raise StoreError(
            f"the repository {repository} is gated: accept its terms at {where} and give your token in HF_TOKEN"
        ) from None
    except hub_errors.RepositoryNotFoundError:
        raise StoreError(
            f"the hub has no repository {repository}, or it is private: check {where}, and set HF_TOKEN to a "
            "token that may read it"
        ) from None
    except hub_errors.RevisionNotFoundError:
        raise StoreError(f"the repository {repository} has no revision {revision!r}: check {where}") from None
    except hub_errors.EntryNotFoundError:
        raise StoreError(
            f"the repository {repository} has no file {file!r} at {revision!r}: see {where}/tree/{revision}"
        ) from None
    except hub_errors.HFValidationError as error:
        raise StoreError(f"invalid repository name {repository!r}: {error}") from None
    except (hub_errors.HfHubHTTPError, OSError, huggingface_hub.errors.OfflineModeIsEnabled) as error:
        raise StoreError(f"cannot ask the hub at {endpoint} for {file}: {_first_line(error)}") from None
    except Exception as error:
        # The hub's client passes on the errors of whatever HTTP library it uses.
        told = f"{type(error).__name__}: {_first_line(error)}"
        raise StoreError(f"cannot reach the hub at {endpoint}: {told}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
