"""Texts grouped into steps of about one length."""

from __future__ import annotations

from collections.abc import Sequence


def plan_batches(lengths: Sequence[int], *, step_tokens: int) -> list[list[int]]:
    """Return the indices of texts in groups that are read in one step, the longest texts first.

    A group is padded to its longest text and has at most `step_tokens` then; a longer text is a group of its own. The
    longest come first, so that threads that share the groups end at about the same time.

    Args:
        lengths: the texts' lengths in tokens, at least 1 each.
        step_tokens: the bound on a group's tokens.
    """
    batches: list[list[int]] = []
    width = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batches and (len(batches[-1]) + 1) * width <= step_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
            width = lengths[index]
    return batches
