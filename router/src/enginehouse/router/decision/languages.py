"""The models that know the language of a request and have its voice. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.kit.languages import canonical_case, fold_tag, language_of, nearest_tag
from enginehouse.kit.nearest import nearest_names
from enginehouse.kit.scripts import language_of_script, scripts_of, written_in
from enginehouse.kit.voice_names import OPENAI_VOICES, VoiceFit, voice_fit
from enginehouse.router.decision.detection import detect_languages
from enginehouse.router.prices import Offer
from enginehouse.router.request import InferenceRequest, Task

if TYPE_CHECKING:
    from enginehouse.router.decision.decision import State

_SHOWN = 12


class ModelLanguages:
    """The languages and voices of one model.

    Args:
        tags: the languages, as BCP 47 tags; none if they are not declared, so that it may know any.
        voices: the names of its voices, folded; none if they are not known.
    """

    __slots__ = ("folded", "languages", "tags", "voices")

    def __init__(self, tags: Sequence[str], voices: frozenset[str]) -> None:
        self.tags = tuple(tags)
        self.voices = voices
        self.folded = frozenset(fold_tag(tag) for tag in tags)
        self.languages = frozenset(language_of(tag) for tag in tags)
        """The same without script, region and variants."""

    def knows(self, tag: str) -> bool:
        """Return whether the model knows a language, or may know it."""
        return not self.folded or language_of(tag) in self.languages or nearest_tag(tag, self.folded) is not None

    def fit(self, voice: str) -> VoiceFit:
        """Return the fit of its voices to a requested one."""
        return voice_fit(voice, voices=self.voices, languages=self.folded)


class LanguageFilter:
    """Narrows the models to those that suit the language and the voice of a request.

    Attributes:
        languages: the languages of which a model must know one, as BCP 47 tags; empty where any model will do.
        detected: whether they were detected, not asked for.
        rejections: by model, the reason why it was rejected.
        refusal: why no model is left; None while there is one.
    """

    __slots__ = ("_request", "_state", "_voice", "detected", "languages", "refusal", "rejections")

    def __init__(self, request: InferenceRequest, state: State) -> None:
        self._request = request
        self._state = state
        self._voice = ""
        # Every model takes OpenAI's names of voices.
        if request.voice and request.task == Task.SPEAK and fold_tag(request.voice) not in OPENAI_VOICES:
            self._voice = request.voice
        self.languages: tuple[str, ...] = (request.language,) if request.language else ()
        self.detected = False
        self.rejections: dict[str, str] = {}
        self.refusal: ServiceError | None = None

    @property
    def idle(self) -> bool:
        """True if the request asks for no language and no voice."""
        return not self.languages and not self._voice

    def suits(self, offer: Offer) -> bool:
        """Return whether a model may serve the request in place of the one chosen."""
        known = self._state.languages_of(offer.model)
        if self._voice and known.voices and known.fit(self._voice) is VoiceFit.NONE:
            return False
        return not self.languages or any(known.knows(tag) for tag in self.languages)

    def detect(self, usable: list[Offer]) -> list[Offer]:
        """Return the usable models that know the language which the request's text is in; all of them if none does, or
        if it cannot be told. Costs nothing to speak of where they declare the same languages, or none.
        """
        request, languages_of = self._request, self._state.languages_of
        texts = (request.spoken_text,) if request.spoken_text else request.texts
        if not texts or len(usable) == 1:
            return usable
        known = [languages_of(offer.model).languages for offer in usable]
        if known.count(known[0]) == len(known):
            return usable
        found = detect_languages(reversed(texts))
        usable = self._that_read(request.spoken_text, found, usable) if request.spoken_text else usable
        if not found:
            return usable
        knowing = [
            offer
            for offer in usable
            if not (languages := self._state.languages_of(offer.model).languages) or not languages.isdisjoint(found)
        ]
        if not knowing:
            return usable
        self.languages, self.detected = found, True
        self._reject(usable, knowing, f"it does not {self._verb} {' or '.join(found)}")
        return knowing

    def _that_read(self, text: str, languages: Sequence[str], usable: list[Offer]) -> list[Offer]:
        """Return the usable models that can also speak the words of a text in letters of other languages, such as a
        Telugu word in an English sentence; all of them if none can.
        """
        own = {script for tag in languages for script in written_in(tag)}
        foreign = {language_of_script(script, default="") for script in scripts_of(text) if script not in own} - {""}
        known = [self._state.languages_of(offer.model).languages for offer in usable]
        reading = [
            offer
            for offer, spoken in zip(usable, known, strict=True)
            if not spoken or spoken >= {language_of(tag) for tag in foreign}
        ]
        if not reading or len(reading) == len(usable):
            return usable
        self._reject(usable, reading, f"it does not speak {' and '.join(sorted(foreign))}")
        return reading

    def narrow(self, usable: list[Offer], asleep: Sequence[Offer]) -> list[Offer]:
        """Return the usable models that suit the request. Sets the refusal where none does.

        Args:
            usable: the models that could serve it otherwise, at least one.
            asleep: those that could if an engine served them.
        """
        named = self._with_voice(usable) if self._voice else usable
        asked = self._request.language
        if not asked:
            return named
        knowing = [offer for offer in named if self._state.languages_of(offer.model).knows(asked)]
        if not knowing and named is not usable:
            # The voice was named: whether it can speak that language is for its engine to say.
            self.languages = ()
            return named
        if not knowing:
            self.refusal = self._refusal(asked, usable, asleep)
        self._reject(named, knowing, f"it does not {self._verb} {asked}")
        return knowing

    def _with_voice(self, usable: list[Offer]) -> list[Offer]:
        """The models that have the voice, else those that speak the language whose tag it is; else all of them, for
        then the engine tells which voices are near.
        """
        voice = self._voice
        fits = [self._state.languages_of(offer.model).fit(voice) for offer in usable]
        best = max(fits)
        if best is VoiceFit.NONE:
            self._voice = ""
            return usable
        fitting = [offer for offer, fit in zip(usable, fits, strict=True) if fit is best]
        if best is VoiceFit.NAME:
            self._reject(usable, fitting, f"it has no voice {voice}")
        else:
            tag = canonical_case(voice.partition("+")[0])
            if not self._request.language:
                self.languages = (tag,)
            self._reject(usable, fitting, f"it does not {self._verb} {tag}")
        return fitting

    def _reject(self, offers: Sequence[Offer], kept: Sequence[Offer], why: str) -> None:
        self.rejections |= {offer.model.name: why for offer in offers if offer not in kept}

    def words(self) -> str:
        """Return what the models that are left have in common, such as " of those that speak te"; empty for nothing."""
        return f" of those that {self._verb} {' or '.join(self.languages)}" if self.languages else ""

    @property
    def _verb(self) -> str:
        task = self._request.task
        return "speak" if task == Task.SPEAK else "hear" if task == Task.TRANSCRIBE else "write"

    def _refusal(self, asked: str, usable: Sequence[Offer], asleep: Sequence[Offer]) -> ServiceError:
        def declares(offer: Offer) -> bool:
            known = self._state.languages_of(offer.model)
            return bool(known.tags) and known.knows(asked)

        if any(declares(offer) for offer in asleep):
            return ServiceError(
                Reason.NO_ENDPOINT,
                f"no live engine serves a model that can {self._verb} {asked!r}; retry shortly, or start an engine",
                retry_after_s=1.0,
            )
        tags = sorted({tag for offer in usable for tag in self._state.languages_of(offer.model).tags})
        shown = list(dict.fromkeys([*nearest_names(asked, tags, count=_SHOWN), *tags]))[:_SHOWN]
        more = f" and {len(tags) - len(shown)} more" if len(tags) > len(shown) else ""
        return ServiceError(
            Reason.UNSUPPORTED_CAPABILITY,
            f"no model that this key may use can {self._verb} {asked!r}; ask for one of {', '.join(shown)}{more}",
            metadata={"language": asked},
        )
