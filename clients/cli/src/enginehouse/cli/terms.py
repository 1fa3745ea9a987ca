"""The words of the command line for what services call otherwise: flags for fields, commands for methods.

Services know neither: their errors name the fields of a request and the methods of a contract. Here is the one mapping
of both. What a command calls itself is read from its signature, so that only names that differ are listed.
"""

from __future__ import annotations

import datetime
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from typer.models import ArgumentInfo, OptionInfo

from enginehouse.client.errors import FieldViolation

# By field of a request, the parameters of commands that fill it; the first that a command has is meant.
_PARAMETERS: Mapping[str, Sequence[str]] = {
    "alert_percents": ("alert",),
    "allowed_models": ("model",),
    "asked_model": ("model",),
    "cache_class": ("class_",),
    "consent.speaker": ("speaker",),
    "consent.statement": ("statement",),
    "default_class": ("class_",),
    "enabled": ("on",),
    "encoding": ("format_",),
    "expected_sequence": ("expect",),
    "expected_seal": ("expect",),
    "expires_at_ms": ("expires_in_days",),
    "from_ms": ("since", "from_"),
    "group_by": ("by",),
    "judge.judge": ("judge",),
    "judge.score": ("score",),
    "key_id": ("key", "key_id", "actor"),
    "language_code": ("language",),
    "lifetime_seconds": ("minutes",),
    "max_audio_seconds": ("max_seconds",),
    "max_output_tokens": ("max_tokens",),
    "messages": ("prompt",),
    "nanos_per_million": ("nanos",),
    "name": ("name", "key_id"),
    "overlap_seconds": ("overlap_hours",),
    "pitch_semitones": ("pitch",),
    "policy_name": ("name",),
    "recording": ("file",),
    "route_limits": ("route_limit",),
    "run_id": ("run", "run_id"),
    "sample": ("file",),
    "sample_rate": ("rate",),
    "scope_id": ("of", "tenant", "key", "user", "run"),
    "scopes": ("scope",),
    "semantic_threshold": ("threshold",),
    "share_bp": ("share",),
    "subject_id": ("of", "tenant", "key", "tier"),
    "tags": ("tag",),
    "tenant_id": ("tenant",),
    "tenant_ids": ("tenant",),
    "unit_name": ("unit",),
    "until_ms": ("until",),
    "user_id": ("user", "user_id"),
    "user_ids": ("user",),
    "user_limits": ("user_limit",),
    "version": ("version", "expected_version"),
    "volume_db": ("volume",),
    "word_times": ("words",),
}

COMMANDS: Mapping[str, str] = {
    "ChangeRollout": "rollouts change",
    "CheckPolicy": "policies check",
    "ClearCache": "cache clear",
    "CreateExperiment": "experiments start",
    "CreateKey": "keys create",
    "CreateRollout": "rollouts start",
    "CreateRunKey": "keys run",
    "CreateTenant": "tenants create",
    "CreateUser": "users create",
    "CreateVoice": "voices create",
    "DeleteBudget": "budgets delete",
    "DeleteDiscount": "discounts cancel",
    "DeleteFlag": "flags delete",
    "DeletePolicy": "policies delete",
    "DeletePrice": "prices cancel",
    "DeleteVoice": "voices delete",
    "DisableUser": "users disable",
    "EnableUser": "users enable",
    "Explain": "explain",
    "ExportSpend": "spend export",
    "Generate": "chat",
    "GetCacheStats": "cache stats",
    "GetExperiment": "experiments show",
    "GetPolicy": "policies get",
    "GetRollout": "rollouts show",
    "InvalidateTag": "cache invalidate",
    "ListAlerts": "budgets alerts",
    "ListAudit": "audit list",
    "ListBudgets": "budgets list",
    "ListCachePolicies": "cache policy",
    "ListDiscounts": "discounts list",
    "ListExperiments": "experiments list",
    "ListFlags": "flags list",
    "ListKeys": "keys list",
    "ListModels": "models list",
    "ListPolicies": "policies list",
    "ListPrices": "prices list",
    "ListRollouts": "rollouts list",
    "ListTenants": "tenants list",
    "ListUsers": "users list",
    "ListVoices": "voices",
    "PlanSpeech": "say --show-text",
    "QuerySpend": "spend",
    "Recognize": "transcribe",
    "RecordFeedback": "feedback rate",
    "RevokeKey": "keys revoke",
    "RotateKey": "keys rotate",
    "SetBudget": "budgets set",
    "SetCachePolicy": "cache policy",
    "SetDiscount": "discounts set",
    "SetFlag": "flags set",
    "SetPolicy": "policies set",
    "SetPrice": "prices set",
    "SetUserRole": "users role",
    "StopExperiment": "experiments stop",
    "StreamingRecognize": "transcribe --mic",
    "SummarizeFeedback": "feedback show",
    "Synthesize": "say",
    "VerifyAudit": "audit verify",
    "WarmCache": "cache warm",
}
"""The command that calls each method, where one does."""

_SERVICE = r"(?:/?(?:[a-z]\w*\.)*[A-Z]\w*Service/)"
_METHODS = "|".join(sorted(COMMANDS, key=len, reverse=True))
# A method of one word may be a word of the sentence, unless its service is before it.
_COMPOUND = "|".join(name for name in sorted(COMMANDS, key=len, reverse=True) if re.search("[A-Z]", name[1:]))
_METHOD = re.compile(rf"(?<![\w`'\"/.])(?:{_SERVICE}({_METHODS})|({_COMPOUND}))(?![\w/])")
_HTTP_FORM = re.compile(r"(?:[A-Z]\w+, )?(?:GET|POST|PUT|DELETE|PATCH) /\S+ and (`enginehouse [^`]+`) list all")
_FIELD = re.compile(r"x-enginehouse-[a-z-]+|[a-z][a-z0-9_]*(?:\[\d+\])?(?:\.[a-z][a-z0-9_]*(?:\[\d+\])?)*")
_LEADING_FIELD = re.compile(rf"({_FIELD.pattern}): ")
_WORD = re.compile(r"(?<![\w'\".`/-])[a-z]+(?:_[a-z]+)+(?![\w'\"`=])")
_MILLISECONDS = re.compile(r"\b1\d{12}\b")
# Files hold these messages themselves, without their names.
_DOCUMENTS = ("experiment.", "policy.", "rollout.")


def explain_failure(command: Callable[..., Any], message: str, violations: Iterable[FieldViolation] = ()) -> str:
    """Return an error of a service in the command's own words.

    Args:
        command: the function of the command, whose parameters are its flags and arguments.
        message: the service's message.
        violations: the fields at fault, which say more than the message where there are several.
    """
    flags = flags_of(command)
    found = list(violations)
    leading = _LEADING_FIELD.match(message)
    # The message of a single violation is the longer of the two.
    if len(found) > 1 and leading is not None and leading[1] == found[0].field:
        parts = [(violation.field, violation.description) for violation in found]
    elif leading is not None and (re.search(r"[._-]", leading[1]) or _flag(leading[1], flags)):
        parts = [(leading[1], message[leading.end() :])]
    else:
        return _plain(message, flags)
    told: dict[str, None] = {}
    for field, description in parts:
        if field.rsplit(".", 1)[-1].endswith("_ms") or "_ms" in description:
            description = _MILLISECONDS.sub(lambda match: _date(int(match[0])), description)
            description = description.replace("or 0 for now", "or leave it out for now")
        told[f"{_name(field, flags)}: {_plain(description, flags)}"] = None
    return "; ".join(told)


def name_flags(command: Callable[..., Any], message: str) -> str:
    """Return an error of this machine's own with flags for the fields in it."""
    return _plain(message, flags_of(command))


def explain_violation(command: Callable[..., Any], violation: FieldViolation) -> dict[str, str]:
    """Return a violation as JSON has it: the field, the flag or argument that fills it, and what is wrong."""
    flags = flags_of(command)
    described = {"field": violation.field, "description": violation.description}
    flag = _flag(violation.field, flags)
    return {**described, "flag": flag} if flag else described


def flags_of(command: Callable[..., Any]) -> dict[str, str]:
    """Return the flags and arguments of a command as its user knows them, by its parameters' names."""
    flags: dict[str, str] = {}
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, OptionInfo):
                # In an annotation, the first flag stands where the default value would.
                given = (info.default, *(info.param_decls or ()))
                long = [flag.partition("/")[0] for flag in given if isinstance(flag, str) and flag.startswith("--")]
                flags[name] = long[0] if long else f"--{name.strip('_').replace('_', '-')}"
            elif isinstance(info, ArgumentInfo):
                flags[name] = name.strip("_")
    return flags


def _flag(field: str, flags: Mapping[str, str]) -> str:
    """Return the flag or argument that fills a field; empty if the command has none."""
    plain = field.removeprefix("x-enginehouse-").replace("-", "_")
    parts = re.sub(r"\[\d+\]", "", plain).split(".")
    # A field of a list or of a message that a flag fills as a whole.
    for end in range(len(parts), 0, -1):
        for parameter in _PARAMETERS.get(".".join(parts[:end]), ()):
            if parameter in flags:
                return flags[parameter]
    for start in range(len(parts)):
        rest = ".".join(parts[start:])
        for parameter in (*_PARAMETERS.get(rest, ()), rest, f"{rest}_"):
            if parameter in flags:
                return flags[parameter]
    return ""


def _name(field: str, flags: Mapping[str, str]) -> str:
    flag = _flag(field, flags)
    if flag and "file" not in flags:
        return flag
    for document in _DOCUMENTS:
        field = field.removeprefix(document)
    if "file" in flags:
        return field
    return re.sub(r"\[\d+\]", "", field).rsplit(".", 1)[-1].removeprefix("x-enginehouse-").replace("_", " ")


def _plain(text: str, flags: Mapping[str, str]) -> str:
    """Return a text with flags for the fields in it, and commands for the methods."""
    if "file" not in flags:
        text = _WORD.sub(lambda match: _flag(match[0], flags) or match[0], text)
    text, listed, methods = text.partition("; it has: ") if "has no method" in text else (text, "", "")
    text = _HTTP_FORM.sub(lambda match: f"{match[1]} lists all", text)
    return _METHOD.sub(lambda match: f"`enginehouse {COMMANDS[match[1] or match[2]]}`", text) + listed + methods


def _date(ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
