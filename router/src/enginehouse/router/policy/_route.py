"""The task and the subject of a request, from its headers, and the tasks that policies may name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from enginehouse.kit.contracts import Contracts
from enginehouse.kit.errors import Reason, ServiceError
from enginehouse.router.request import Task

# Kinds of generation that policies may distinguish.
_GENERATING = ("generate", "enhance", "analyse")
# Tokenizing prepares a generation, so it is decided like one.
_DECIDED_AS_GENERATING = (Task.GENERATE, Task.TOKENIZE, Task.NONE)

LABEL = re.compile(r"[a-z][a-z0-9-]{0,63}").fullmatch
"""Matches the name of a subject or a document."""

_TASK_HEADER = b"x-enginehouse-task"
_SUBJECT_HEADER = b"x-enginehouse-subject"


def policy_tasks(contracts: Contracts) -> tuple[str, ...]:
    """Return the tasks that policies may name: kinds of generating, and every other task of an installed contract."""
    return tuple(dict.fromkeys([*_GENERATING, *(word for task in contracts.tasks for word in tasks_of(task))]))


def tasks_of(task: str) -> tuple[str, ...]:
    """Return the tasks in policies' words that a request may name, by its method's task. The first is the default."""
    return _GENERATING if task in _DECIDED_AS_GENERATING else (task,)


def read_route(headers: Mapping[bytes, bytes], method_task: str, *, tasks: Sequence[str]) -> tuple[str, str]:
    """Return the task and the subject of a request; the subject is empty if no header names one.

    Args:
        headers: the request's headers.
        method_task: the task of its method.
        tasks: the tasks that policies may name.

    Raises:
        ServiceError: INVALID_REQUEST for an unknown task, a task that the method cannot do, or a subject that is not a
            label.
    """
    task = headers.get(_TASK_HEADER, b"").decode("latin-1")
    subject = headers.get(_SUBJECT_HEADER, b"").decode("latin-1")
    return checked_route(task, subject, method_task, tasks=tasks)


def checked_route(task: str, subject: str, method_task: str, *, tasks: Sequence[str]) -> tuple[str, str]:
    """Return the same as `read_route`, for a given task and subject, either of which may be empty."""
    own = tasks_of(method_task)
    if not task:
        task = own[0]
    elif task not in tasks:
        raise ServiceError(
            Reason.INVALID_REQUEST, f"x-enginehouse-task: {task[:64]!r} must be one of {', '.join(tasks)}"
        )
    elif task not in own:
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"x-enginehouse-task: this method cannot do {task!r}; "
            f"{f'it has the task {own[0]}' if len(own) == 1 else 'it has the tasks generate, enhance and analyse'}",
        )
    if subject and not LABEL(subject):
        raise ServiceError(
            Reason.INVALID_REQUEST,
            f"x-enginehouse-subject: {subject[:64]!r} must be 1-64 of [a-z0-9-] and begin with a letter",
        )
    return task, subject
