from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enginehouse.kit.languages import fold_tag, language_of, language_tag, nearest_tag

_SOME = {"en-us", "en-gb", "te", "fr-be", "fr-fr", "pt-br", "es", "es-419", "cmn", "yue", "nb"}


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


@pytest.mark.parametrize(
    ("tag", "nearest"),
    [
        ("en-US", "en-us"),
        ("EN_gb", "en-gb"),
        ("en", "en-us"),
        ("en-IN", "en-gb"),
        ("en-GB-oxendict", "en-gb"),
        ("te-IN", "te"),
        ("te-Latn-IN-x-any", "te"),
        ("fr", "fr-fr"),
        ("fr-CA", "fr-fr"),
        ("pt", "pt-br"),
        ("pt-PT", "pt-br"),
        ("es-AR", "es-419"),
        ("zh-Hans-CN", "cmn"),
        ("zh-HK", "yue"),
        ("nn-NO", "nb"),
        ("no", "nb"),
        ("e", None),
        ("en-", None),
        ("en-../x", None),
        ("enn", None),
        ("tlh", None),
        ("", None),
    ],
)
def test_the_nearest_tag(tag: str, nearest: str | None) -> None:
    assert nearest_tag(tag, _SOME) == nearest


def test_one_voice_of_a_language_serves_all_its_regions() -> None:
    assert {nearest_tag(tag, {"en-us"}) for tag in ("en", "en-GB", "en-IN", "en_029")} == {"en-us"}
    assert nearest_tag("cmn-Hans", {"zh-cn"}) == "zh-cn"


@given(tag=st.text(max_size=20), known=st.sets(st.from_regex(r"[a-z]{2,3}(-[a-z0-9]{2,4}){0,2}", fullmatch=True)))
def test_any_text_is_near_to_a_known_tag_or_to_none(tag: str, known: set[str]) -> None:
    found = nearest_tag(tag, known)
    assert found is None or found in known
    assert all(nearest_tag(same, known) == same for same in known)


@given(st.from_regex(r"[a-z]{2,3}(-[a-z0-9]{1,8}){0,3}", fullmatch=True))
def test_the_canonical_case_means_the_same(tag: str) -> None:
    assert fold_tag(language_tag(tag)) == tag
    assert nearest_tag(language_tag(tag), {tag}) == tag
