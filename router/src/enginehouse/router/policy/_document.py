"""A policy document, compiled: rules by tier, key, task and subject, and the subjects' keywords."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from enginehouse.api.router.v1 import policy_pb2
from enginehouse.router.policy._rules import BanditSettings, Chain, PolicyRules, apply_layers

# Characters at each end of a prompt that are searched for keywords.
_SAMPLE = 256
MAX_FALLBACKS = 4
"""The most models that are tried after the first."""

_SPACES = str.maketrans(dict.fromkeys("!\"#$%&'(),./:;<=>?@[\\]^`{|}~", " "))
# Runs of characters that are neither spaces nor punctuation, in any script: `\w` would cut Indic words at vowel signs.
_WORDS = re.compile(r"[^\s!-&(-,./:-@\[-^`{-~\u2010-\u2027\u3000-\u303f\u0964\u0965]+").findall


class PolicyDocument:
    """A document. Names of things that no longer exist never match.

    Args:
        message: the document, in which `problems` found none.
        tiers: the configuration's rules, by tier.
    """

    def __init__(self, message: policy_pb2.Policy, *, tiers: Mapping[str, PolicyRules]) -> None:
        self.message = message
        self.name = message.name
        self._base = tiers
        self._tiers = {entry.tier: entry.rules for entry in message.tiers}
        self._tasks = {entry.task: entry.rules for entry in message.tasks}
        self._subjects = {entry.name: entry for entry in message.subjects}
        self._keys = {entry.key_id: entry.rules for entry in message.keys}
        self._keywords = [
            (entry.name, frozenset(entry.keywords), max(1, entry.keywords_needed))
            for entry in message.subjects
            if entry.keywords
        ]
        self._chains = chains(message)
        self._bandit = BanditSettings.of(message.bandit) if message.bandit.enabled else None
        self._made: dict[tuple[str, tuple[str, ...], str, str], PolicyRules] = {}

    def rules(self, *, tier: str, key_ids: Sequence[str], task: str, subject: str) -> PolicyRules:
        """Return the rules of a request. Sections that the document lacks change nothing.

        `key_ids` are the request's key and the keys that it was made with, nearest first. Their rules apply to the
        request too, below the rules of its own key.
        """
        which = (
            tier,
            tuple([key_id for key_id in reversed(key_ids) if key_id in self._keys]) if self._keys else (),
            task if task in self._tasks else "",
            subject if subject in self._subjects else "",
        )
        found = self._made.get(which)
        if found is None:
            # The document's tiers, keys, tasks and subjects bound the number of entries.
            found = self._made[which] = self._make(*which)
        return found

    def subject_of(self, texts: Sequence[str]) -> str:
        """Return the first subject with enough of its keywords in the prompt; empty if there is none."""
        if not self._keywords or not texts:
            return ""
        # A prompt's question is at one of its ends: search the first text's start and the last text's end.
        first, last = texts[0], texts[-1]
        short = len(texts) == 1 and len(first) <= 2 * _SAMPLE
        sample = first if short else f"{first[:_SAMPLE]} {last[-_SAMPLE:]}"
        sample = sample.lower()
        words = set(sample.translate(_SPACES).split() if sample.isascii() else _WORDS(sample))
        for name, keywords, needed in self._keywords:
            if len(keywords & words) >= needed:
                return name
        return ""

    def _make(self, tier: str, key_ids: Sequence[str], task: str, subject: str) -> PolicyRules:
        layers: list[tuple[str, policy_pb2.Rules]] = []
        if self.message.HasField("everyone"):
            layers.append(("everyone", self.message.everyone))
        if tier in self._tiers:
            layers.append((f"tiers.{tier}", self._tiers[tier]))
        if task:
            layers.append((f"tasks.{task}", self._tasks[task]))
        if subject:
            entry = self._subjects[subject]
            if entry.specialists:
                layers.append((f"subjects.{subject}", policy_pb2.Rules(prefer=entry.specialists)))
            layers.append((f"subjects.{subject}", entry.rules))
        layers += [(f"keys.{key_id}", self._keys[key_id]) for key_id in key_ids]
        own_specialists = self._subjects[subject].specialists if subject else ()
        return dataclasses.replace(
            apply_layers(dataclasses.replace(self._base[tier], policy=self.name, version=self.message.version), layers),
            layers=tuple(dict.fromkeys([*self._base[tier].layers, *[name for name, _ in layers]])),
            other_specialists={
                model: entry.name
                for entry in self.message.subjects
                for model in entry.specialists
                if model not in own_specialists
            },
            fallbacks=self._chains,
            bandit=self._bandit,
        )


def chains(message: policy_pb2.Policy) -> dict[str, Chain]:
    """Return each model's fallbacks: the models of its chain, then theirs, each once. Cycles do no harm."""
    direct = {entry.model: tuple(entry.models) for entry in message.fallbacks}
    found = {}
    for entry in message.fallbacks:
        order = dict.fromkeys(entry.models)
        waiting = list(entry.models)
        while waiting and len(order) <= MAX_FALLBACKS:
            for model in direct.get(waiting.pop(0), ()):
                if model not in order:
                    order[model] = None
                    waiting.append(model)
        order.pop(entry.model, None)
        found[entry.model] = Chain(
            tuple(order)[:MAX_FALLBACKS],
            entry.for_named,
            entry.max_price_factor if entry.HasField("max_price_factor") else None,
        )
    return found
