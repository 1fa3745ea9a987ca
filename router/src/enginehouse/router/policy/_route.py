"""What a request is for: its task and its subject, from its headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.request import Purpose

TASKS = ("generate", "enhance", "analyse", "embed", "speak", "transcribe")
"""What a request may be for."""

# What a method does by itself; the other tasks are those of a method that generates.
_OF_PURPOSE = {Purpose.EMBED: "embed", Purpose.SPEAK: "speak", Purpose.LISTEN: "transcribe"}

LABEL = re.compile(r"[a-z][a-z0-9-]{0,63}").fullmatch
"""What a subject or a document may be called."""

_TASK_HEADER = b"x-enginehouse-task"
_SUBJECT_HEADER = b"x-enginehouse-subject"


def read_route(headers: Mapping[bytes, bytes], purpose: Purpose) -> tuple[str, str]:
    """The task and the subject of a request; the subject is empty where no header names one.

    Raises:
        ServiceError: INVALID_REQUEST for a task that there is not or that the method cannot do, or for a subject that
            is not a label.
    """
    task = headers.get(_TASK_HEADER, b"").decode("latin-1")
    subject = headers.get(_SUBJECT_HEADER, b"").decode("latin-1")
    return checked_route(task, subject, purpose)


def checked_route(task: str, subject: str, purpose: Purpose) -> tuple[str, str]:
    """The same from a task and a subject, either of which may be empty."""
    own = _OF_PURPOSE.get(purpose)
    if not task:
        task = own or "generate"
    elif task not in TASKS:
        raise ServiceError(
            Reason.INVALID_REQUEST, f"x-enginehouse-task: {task[:64]!r} must be one of {', '.join(TASKS)}"
        )
    elif task != own and (own is not None or task in _OF_PURPOSE.values()):
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"x-enginehouse-task: {task!r} is not what this method does; "
            f"{f'it has the task {own}' if own else 'it has the tasks generate, enhance and analyse'}",
        )
    if subject and not LABEL(subject):
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"x-enginehouse-subject: {subject[:64]!r} must be 1-64 of [a-z0-9-] and begin with a letter",
        )
    return task, subject
