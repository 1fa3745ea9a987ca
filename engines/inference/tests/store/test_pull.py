"""Weights from the hub: whole, verified, resumed, or refused with the reason."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys

import pytest

from enginehouse.engines.inference.store import PullProgress, StoreError, pull, source_to_pull
from enginehouse.kit.catalog import Catalog, CatalogModel
from engines.inference.tests.store.hub_server import COMMIT

SOURCE = "hf:acme/tiny/sub/tiny.gguf"
CONTENT = bytes(range(256)) * 20_000


@pytest.fixture
def fetch(hub, tmp_path):
    hub.large["acme/tiny/sub/tiny.gguf"] = CONTENT

    def fetch(source=SOURCE, **extra):
        environ = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_good"}
        return pull(source, models_dir=tmp_path, environ=environ, first_wait_s=0.001, **extra)

    return fetch


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_pull_puts_the_file_where_engines_look(hub, fetch, tmp_path):
    told: list[PullProgress] = []
    pulled = fetch(progress=told.append)
    assert pulled.path == tmp_path / "hf/acme/tiny/main/sub/tiny.gguf"
    assert pulled.path.read_bytes() == CONTENT
    assert pulled.checksum == hashlib.sha256(CONTENT).hexdigest()
    assert (pulled.commit, pulled.size_bytes, pulled.fetched) == (COMMIT, len(CONTENT), True)
    assert (told[0].done_bytes, told[-1].done_bytes, told[-1].total_bytes) == (0, len(CONTENT), len(CONTENT))
    assert [progress.done_bytes for progress in told] == sorted(progress.done_bytes for progress in told)
    assert files(tmp_path) == [".tiny.gguf.origin.json", "tiny.gguf"]


def test_token_goes_to_the_hub_and_never_to_its_storage(hub, fetch):
    fetch()
    tokens = {path.startswith("/storage/"): token for _, path, _, token in hub.seen}
    assert tokens == {False: "Bearer hf_good", True: None}


def test_second_pull_fetches_nothing(hub, fetch):
    fetch()
    assert not fetch().fetched
    assert len(hub.transfers) == 1


def test_damaged_or_outdated_file_is_fetched_again(hub, fetch):
    path = fetch().path
    path.write_bytes(b"x" * len(CONTENT))
    assert fetch().fetched
    assert path.read_bytes() == CONTENT
    hub.large["acme/tiny/sub/tiny.gguf"] = b"newer"
    assert fetch().path.read_bytes() == b"newer"


def test_file_without_its_note_is_recognised_by_its_checksum(hub, fetch):
    path = fetch().path
    path.with_name(".tiny.gguf.origin.json").unlink()
    assert not fetch().fetched


def test_small_files_are_checked_by_gits_checksum(hub, fetch):
    hub.small["acme/tiny/config.json"] = b"{}"
    pulled = fetch("hf:acme/tiny/config.json@main")
    assert pulled.path.read_bytes() == b"{}"
    assert len(pulled.checksum) == 40


def test_corrupt_transfer_leaves_nothing_behind(hub, fetch, tmp_path):
    hub.corrupt = True
    with pytest.raises(StoreError, match="arrived damaged") as raised:
        fetch()
    assert hashlib.sha256(CONTENT).hexdigest() in str(raised.value)
    assert files(tmp_path) == []
    hub.corrupt = False
    assert fetch().path.read_bytes() == CONTENT


def test_cut_connections_are_resumed_where_they_broke(hub, fetch):
    hub.break_after = [1_000_000, 0, 2_000_000]
    assert fetch().path.read_bytes() == CONTENT
    assert hub.transfers == [None, "bytes=1000000-", "bytes=1000000-", "bytes=3000000-"]


def test_busy_storage_is_asked_again(hub, fetch):
    hub.busy = 3
    assert fetch().path.read_bytes() == CONTENT


def test_server_without_ranges_starts_over(hub, fetch):
    hub.ranges = False
    hub.break_after = [1_000_000]
    assert fetch().path.read_bytes() == CONTENT


def test_network_that_stays_away_keeps_what_has_arrived(hub, fetch, tmp_path):
    hub.break_after = [1_500_000, 0, 0, 0, 0, 0]
    with pytest.raises(StoreError, match="run the command again"):
        fetch()
    assert not (tmp_path / "hf/acme/tiny/main/sub/tiny.gguf").exists()
    assert fetch().path.read_bytes() == CONTENT
    assert hub.transfers[-1] == "bytes=1500000-"


def test_killed_pull_is_resumed_by_the_next(hub, fetch, tmp_path):
    program = f"""
import os, signal
from pathlib import Path
from enginehouse.engines.inference.store import pull
def die(progress):
    if progress.done_bytes >= 2_000_000:
        os.kill(os.getpid(), signal.SIGKILL)
pull({SOURCE!r}, models_dir=Path({str(tmp_path)!r}), environ={{"HF_ENDPOINT": {hub.endpoint!r}}}, progress=die)
"""
    killed = subprocess.run([sys.executable, "-c", program], timeout=60, env={**os.environ, "HF_TOKEN": "x"})
    assert killed.returncode == -signal.SIGKILL
    [partial] = [name for name in files(tmp_path) if name.endswith(".part")]
    assert partial.startswith(".tiny.gguf.")
    assert fetch().path.read_bytes() == CONTENT
    assert int(hub.transfers[-1].removeprefix("bytes=").rstrip("-")) >= 1_000_000
    assert files(tmp_path) == [".tiny.gguf.origin.json", "tiny.gguf"]


def test_two_pulls_of_one_file_do_not_mix(hub, fetch, tmp_path):
    folder = tmp_path / "hf/acme/tiny/main/sub"
    folder.mkdir(parents=True)
    partial = folder / f".tiny.gguf.{hashlib.sha256(CONTENT).hexdigest()[:16]}.part"
    with partial.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another command is fetching"):
            fetch()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("hf:acme/none/x.gguf", "no repository acme/none"),
        ("hf:acme/tiny/none.gguf", "no file 'none.gguf'"),
        ("hf:acme/tiny/sub/tiny.gguf@v9", "no revision 'v9'"),
        ("hf:acme", "hf:ORG/REPO/FILE"),
        ("hf:acme/../x.gguf", "hf:ORG/REPO/FILE"),
        ("hf:ac me/ti%ny/x.gguf", "invalid repository name"),
        ("file:x", "hf:ORG/REPO/FILE"),
    ],
)
def test_what_is_not_there_is_named(fetch, tmp_path, source, said):
    with pytest.raises(StoreError, match=said) as raised:
        fetch(source)
    assert "hf_good" not in str(raised.value)
    assert files(tmp_path) == []


def test_gated_repository_says_what_to_do(hub, tmp_path):
    hub.large["acme/shut/x.gguf"] = b"x"
    hub.gated.add("acme/shut")
    with pytest.raises(StoreError, match=r"accept its terms at http.*/acme/shut and give your token in HF_TOKEN"):
        pull("hf:acme/shut/x.gguf", models_dir=tmp_path, environ={"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_bad"})
    pull("hf:acme/shut/x.gguf", models_dir=tmp_path, environ={"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_good"})


def test_catalog_names_are_pulled_by_their_source():
    def model(name, source):
        return CatalogModel(
            name=name, cluster="inference", backend="llama.cpp", source=source, context_tokens=1, max_output_tokens=1,
            capabilities=frozenset(), quality=0, prices={}, options={},
        )  # fmt: skip

    catalog = Catalog([model("far", SOURCE), model("near", "bundled:near.gguf")])
    assert source_to_pull("far", catalog) == SOURCE
    assert source_to_pull("hf:a/b/c", catalog) == "hf:a/b/c"
    with pytest.raises(StoreError, match=r"near needs no pull: its source is bundled:near\.gguf"):
        source_to_pull("near", catalog)
    with pytest.raises(StoreError, match="the catalog has: far, near"):
        source_to_pull("none", catalog)


def test_hub_that_is_not_there(hub, tmp_path):
    with pytest.raises(StoreError, match=r"cannot reach the hub at http://127\.0\.0\.1:1"):
        pull(SOURCE, models_dir=tmp_path, environ={"HF_ENDPOINT": "http://127.0.0.1:1"})


def test_server_that_is_no_hub(hub, fetch):
    with pytest.raises(StoreError, match="not a Hugging Face hub"):
        pull(SOURCE, models_dir=fetch().path.parent, environ={"HF_ENDPOINT": f"{hub.endpoint}/api/models"})


def test_a_whole_repository_is_pulled_file_by_file(hub, fetch, tmp_path):
    hub.small["acme/folder/config.json"] = b"{}"
    hub.large["acme/folder/model.bin"] = CONTENT
    hub.small["acme/folder/.gitattributes"] = b"x"
    hub.small["acme/folder/README.md"] = b"x"
    pulled = fetch("hf:acme/folder")
    assert pulled.path == tmp_path / "hf/acme/folder/main"
    assert sorted(path.name for path in pulled.path.iterdir() if not path.name.startswith(".")) == [
        "config.json",
        "model.bin",
    ]
    assert (pulled.size_bytes, pulled.commit, pulled.fetched) == (2 + len(CONTENT), COMMIT, True)
    assert not fetch("hf:acme/folder").fetched
    with pytest.raises(StoreError, match="no repository acme/nothing"):
        fetch("hf:acme/nothing")
    with pytest.raises(StoreError, match="no revision 'old'"):
        fetch("hf:acme/folder@old")
