"""Prompts are made of the passage's own words, and recasting keeps a passage readable."""

import random

from engines.inference.training.storymodel import prompts
from engines.inference.training.storymodel.echo import echo
from engines.inference.training.storymodel.fables import english_fable, telugu_fable
from engines.inference.training.storymodel.recast import (
    Recast,
    describe,
    main_character,
    recast_english,
    recast_telugu,
    replace_noun,
)
from engines.inference.training.storymodel.smalltalk import small_talk
from engines.inference.training.storymodel.vocabulary import plural, with_article

PASSAGE = "An owl saw the moon.\nThe owl sang.\nTwo owls came.\nOwl slept under the moon."
TELUGU = "ఒక కుక్క ఉంది.\nకుక్కను చూసి పిల్ల నవ్వింది."


def test_the_main_character_is_the_noun_said_most_often() -> None:
    assert main_character(PASSAGE) == "owl"
    assert main_character("A crow flew by.") is None


def test_replacing_a_noun_minds_number_case_and_article() -> None:
    expected = "A wolf saw the moon.\nThe wolf sang.\nTwo wolves came.\nWolf slept under the moon."
    assert replace_noun(PASSAGE, "owl", "wolf") == expected
    assert replace_noun("a wolf", "wolf", "owl") == "an owl"
    assert replace_noun("the owlish growl", "owl", "wolf") == "the owlish growl"


def test_a_recast_passage_has_its_new_subject_and_not_the_old_one() -> None:
    changed = 0
    for seed in range(50):
        cast = recast_english(PASSAGE, random.Random(seed), chance=1.0)
        assert cast.subject is not None
        assert cast.subject in cast.text.lower()
        changed += "owl" not in cast.text.lower()
    assert changed > 40


def test_no_recasting_at_chance_zero() -> None:
    cast = recast_english(PASSAGE, random.Random(1), chance=0.0)
    assert (cast.text, cast.subject) == (PASSAGE, "owl")


def test_telugu_case_endings_survive_a_recast() -> None:
    for seed in range(20):
        cast = recast_telugu(TELUGU, random.Random(seed), chance=1.0)
        assert f"{cast.subject}ను" in cast.text


def test_an_adjective_is_put_before_the_first_mention() -> None:
    text, phrase = describe(Recast(text=PASSAGE, subject="owl"), random.Random(3))
    adjective = phrase.split()[0]
    assert text.startswith(f"{with_article(adjective).capitalize()} owl saw")
    assert text.count(adjective) == 1


def test_articles_and_plurals() -> None:
    assert with_article("owl") == "an owl"
    assert with_article("crow") == "a crow"
    assert [plural(n) for n in ("fox", "fairy", "boy", "mouse")] == ["foxes", "fairies", "boys", "mice"]


def test_key_words_come_from_the_passage_rarest_first() -> None:
    nouns = {"moon": 9.0, "day": 6.0, "castle": 12.0}
    assert prompts.key_words("the day was long and the moon was up", nouns, count=3) == ["moon", "day"]


def test_nouns_are_learnt_from_where_they_stand() -> None:
    text = "she took the lantern and went. he ran quickly to her lantern. he ran quickly. " * 30
    nouns = prompts.learn_nouns([text], share=0.1)
    assert "lantern" in nouns
    assert "quickly" not in nouns


def test_an_english_request_names_its_subject_or_its_words() -> None:
    for seed in range(200):
        request = prompts.ask_english(
            random.Random(seed), subject="a shy owl", words=["moon", "branch"], title=None, sentences=99
        )
        assert "owl" in request or ("moon" in request and "branch" in request)


def test_a_conversation_alternates_and_loses_nothing() -> None:
    answer = "\n".join(f"Line {i}." for i in range(8))
    lengths = set()
    for seed in range(100):
        turns = prompts.converse(random.Random(seed), request="Go", answer=answer, continuations=prompts.CONTINUE_EN)
        roles = [turn.role for turn in turns if turn.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(turn.role != "system" for turn in turns[1:])
        assert "\n".join(turn.content for turn in turns if turn.role == "assistant") == answer
        lengths.add(len(turns))
    assert {2, 3, 4} <= lengths


def test_small_talk_fills_every_slot() -> None:
    for seed in range(300):
        assert not any("{" in turn.content for turn in small_talk(random.Random(seed)))


def test_a_fable_is_about_its_subject_and_uses_its_words() -> None:
    for seed in range(200):
        for fable in (english_fable(random.Random(seed)), telugu_fable(random.Random(seed))):
            assert fable.subject.lower() in fable.sentences[0].lower()
            said = " ".join(fable.sentences).lower()
            assert all(word.lower() in said for word in fable.words)
            assert "{" not in said


def test_an_echo_says_what_was_said() -> None:
    for seed in range(100):
        request, answer = echo(random.Random(seed))
        assert request.content.endswith(f": {answer.content}")
