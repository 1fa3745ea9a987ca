"""The words that prompts and stories can be about, by kind, in English and Telugu.

A word may be replaced by another of its kind without breaking the sentence around it. That is all
this module promises.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ANIMALS = _words(
    """crow fox lion tiger elephant monkey rabbit tortoise turtle deer bear wolf cat dog cow goat sheep horse
    donkey camel mouse rat squirrel snake fish frog crocodile lizard parrot peacock sparrow pigeon owl eagle
    hawk duck hen swan goose crane cuckoo ant bee butterfly spider beetle cricket dragon whale shark dolphin
    crab octopus snail worm bat pig buffalo bull calf lamb kitten puppy hare hedgehog mongoose jackal
    panther leopard cheetah rhino hippo giraffe zebra kangaroo panda penguin otter badger mole weasel beaver
    raven robin nightingale woodpecker kingfisher heron vulture falcon turkey moth firefly grasshopper
    ladybird bird fawn cub caterpillar"""
)
PEOPLE = _words(
    """king queen prince princess farmer potter weaver carpenter tailor fisherman hunter shepherd merchant baker
    cook teacher doctor soldier sailor captain thief robber beggar minister judge woodcutter gardener barber
    washerman blacksmith painter poet singer dancer musician wizard witch giant fairy ghost robot boy girl
    man woman child grandmother grandfather lady gentleman servant nurse priest clown magician astronaut
    scientist inventor traveller stranger neighbour driver postman policeman student friend baby lad maiden
    knight pirate monster genie elf dwarf miller shopkeeper"""
)
THINGS = _words(
    """kite drum mango umbrella ball bicycle balloon lamp mirror ring necklace crown sword stick stone flower tree
    seed leaf river lake pond well hill mountain cave island boat ship train bus cart wheel clock bell book
    letter pencil box basket pot bag hat shoe shirt coat blanket pillow bed chair table door window key lock
    house hut palace castle temple school garden field village market kitchen bridge road star moon sun
    cloud rainbow storm wind rain shadow dream song story secret treasure coin cake bread banana apple
    coconut pumpkin egg feather nest whistle flute toothbrush spoon plate rope ladder bucket candle doll
    puppet mask map picture fire forest wall gate"""
)
ADJECTIVES = _words(
    """clever little big old young brave kind greedy lazy lonely hungry wise foolish proud shy happy sad angry
    gentle naughty curious small tall fat thin strong tiny poor rich beautiful white black brown red green
    blue golden silver grey cunning honest grumpy sleepy noisy quiet quick slow silly strange friendly magic
    wild lost"""
)
NAMES = _words(
    """Meena Ravi Sita Gopal Lakshmi Arjun Anu Kiran Mala Raju Priya Mohan Radha Balu Chitra Deepa Farida Ganesh
    Hari Indu Jaya Kabir Leela Manu Nila Omar Puja Rani Salim Tara Uma Vikram Yasmin Zara Tom Mary John
    Alice Peter Jane Harry Lucy George Emma Jack Rose Sam Nell Will Kate"""
)
PLACES = _words(
    """forest village jungle palace garden town farm city valley kingdom meadow island desert mountain river lake
    house castle cave field"""
)

IRREGULAR_PLURALS = {
    "wolf": "wolves", "mouse": "mice", "sheep": "sheep", "deer": "deer", "fish": "fish", "goose": "geese",
    "calf": "calves", "man": "men", "woman": "women", "child": "children", "gentleman": "gentlemen",
    "fisherman": "fishermen", "washerman": "washermen", "policeman": "policemen", "postman": "postmen",
    "thief": "thieves", "elf": "elves", "leaf": "leaves", "knife": "knives",
}  # fmt: skip

TELUGU_KINDS = (
    _words("కాకి పులి పిల్లి కోతి నెమలి కోడి ఎలుగుబంటి"),
    _words("నక్క కుక్క మేక చిలుక ఎలుక చేప కప్ప జింక పిచ్చుక చీమ గుడ్లగూబ"),
    _words("ఏనుగు కుందేలు తాబేలు ఆవు పాము ఎద్దు తోడేలు బాతు"),
)
"""Telugu animals by the sound they end in: within one tuple the case endings stay right."""
TELUGU_ADJECTIVES = _words("""తెలివైన చిన్న పెద్ద ముసలి మంచి ధైర్యమైన బద్ధకపు ఆకలిగొన్న అందమైన తెల్లని నల్లని అల్లరి దురాశగల""")
TELUGU_PLACES = ("అడవిలో", "ఊరిలో", "చెట్టు మీద", "కొండ మీద", "నది దగ్గర", "తోటలో")


def plural(noun: str) -> str:
    """The plural of an English noun of this module."""
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def with_article(phrase: str) -> str:
    """``a`` or ``an`` before an English phrase."""
    return f"{'an' if phrase[:1].lower() in 'aeio' else 'a'} {phrase}"
