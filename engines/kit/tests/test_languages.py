from __future__ import annotations

import pytest

from enginehouse.kit.languages import language_of, language_tag


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("EN", "en"),
        ("te-in", "te-IN"),
        ("pt_BR", "pt-BR"),
        ("ZH-HANT-tw", "zh-Hant-TW"),
        ("es-419", "es-419"),
        ("CHR-us-QAAA-X-West", "chr-US-Qaaa-x-west"),
        ("en-GB-scotland", "en-GB-scotland"),
    ],
)
def test_tags_have_one_form(given: str, canonical: str) -> None:
    assert language_tag(given) == canonical
    assert language_tag(canonical) == canonical


@pytest.mark.parametrize("given", ["", "e", "english", "en-", "-en", "en--GB", "en GB", "te+f2", "en-" + "a" * 40, "తె"])
def test_what_is_no_tag_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is not a language tag"):
        language_tag(given)


@pytest.mark.parametrize(
    ("tag", "language"),
    [("en-GB", "en"), ("cmn-Hans", "zh"), ("zho", "zh"), ("iw", "he"), ("NB", "no"), ("xx-YY", "xx")],
)
def test_one_language_has_one_name(tag: str, language: str) -> None:
    assert language_of(tag) == language
