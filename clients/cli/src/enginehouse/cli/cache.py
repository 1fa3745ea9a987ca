"""The command `cache`: the response cache and the semantic cache."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import cache_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.messages import describe, word
from enginehouse.cli.names import KEYS, tenant_id
from enginehouse.cli.output import JsonFlag, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.values import decimal_option
from enginehouse.client import Enginehouse
from enginehouse.kit.nearest import did_you_mean
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Warm, inspect and invalidate cached answers.")

_CLASSES = {
    "factual": cache_pb2.CACHE_CLASS_FACTUAL,
    "practice": cache_pb2.CACHE_CLASS_PRACTICE,
    "curriculum": cache_pb2.CACHE_CLASS_CURRICULUM,
    "personal": cache_pb2.CACHE_CLASS_PERSONAL,
}
_MODES = {
    "default": cache_pb2.CACHE_MODE_UNSPECIFIED,
    "never": cache_pb2.CACHE_MODE_NEVER,
    "asked": cache_pb2.CACHE_MODE_ASKED,
    "deterministic": cache_pb2.CACHE_MODE_DETERMINISTIC,
    "always": cache_pb2.CACHE_MODE_ALWAYS,
}
_BATCH_SIZE = 100

ClassOption = Annotated[
    str | None, typer.Option("--class", help=f"The answers' class: {', '.join(_CLASSES)}; default: the key's.")
]


@app.command()
@reported
def warm(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help='Lines of JSON: {"request": a chat completion\'s body, "answer": its text}. Without "answer" the '
            "request is sent and billed, and its answer is cached.",
        ),
    ],
    key_id: Annotated[
        str,
        typer.Option(
            "--key",
            help="The key whose requests find the answers of the file: its id or the beginning of it, or its name.",
        ),
    ] = "",
    class_: ClassOption = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag that invalidates them; repeatable.")] = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Cache answers from a file."""
    kind = _choice("--class", class_, _CLASSES) if class_ else cache_pb2.CACHE_CLASS_UNSPECIFIED
    lines = list(_lines(file))
    given = [line for line in lines if "answer" in line]
    if given and not key_id:
        raise typer.BadParameter("--key is missing: the file has answers; give the key whose requests find them")
    headers = [("x-enginehouse-cache-class", class_)] if class_ else []
    if tag:
        headers.append(("x-enginehouse-cache-tags", ",".join(tag)))
    sent: Counter[str] = Counter()
    kept = 0
    with connect(url=url, api_key=api_key, data=data) as mesh:
        for start in range(0, len(given), _BATCH_SIZE):
            entries = [_entry(line) for line in given[start : start + _BATCH_SIZE]]
            kept += KEYS.call(mesh, key_id, partial(mesh.cache.warm, entries=entries, cache_class=kind, tags=tag or ()))
        for line in lines:
            if "answer" not in line:
                sent[_sent(mesh, line, headers)] += 1
    if json_:
        print_json({"kept": kept, "sent": dict(sent)})
        return
    print_text(f"{kept} answers cached")
    for result, count in sorted(sent.items()):
        print_text(f"{count} requests sent: {result or 'the cache is off for this key'}")


@app.command()
@reported
def stats(
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Show a router's cache and its lookups."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        found = mesh.cache.stats()
    if json_:
        print_json(describe(found))
        return
    total = sum(lookup.count for lookup in found.lookups)
    rows = [[lookup.result, str(lookup.count), f"{100 * lookup.count / total:.1f} %"] for lookup in found.lookups]
    print_table(["result", "lookups", "share"], rows, empty="no lookups yet", wide=wide)
    print_text(
        f"{found.router_id}: {found.entries} answers in {found.bytes / 2**20:.1f} of {found.max_bytes / 2**20:.0f} "
        f"MiB; {found.stored} stored, {found.evicted} evicted, {found.refused} rejected; "
        f"{'shared over Redis' if found.shared else 'not shared with other routers'}"
    )


@app.command()
@reported
def invalidate(
    tag: Annotated[
        str, typer.Argument(help="A tag such as collection:physics (every version) or collection:physics@7.")
    ],
    tenant: Annotated[str, typer.Option("--tenant", help="Only answers of this tenant.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Invalidate all answers with a tag, on all routers."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        generation = mesh.cache.invalidate(tag, tenant_id=tenant_id(mesh, tenant))
    if json_:
        print_json({"tag": tag, "generation": generation})
    else:
        print_text(f"answers with the tag {tag} invalidated")


@app.command()
@reported
def clear(
    tenant: Annotated[str, typer.Option("--tenant", help="Only answers of this tenant.")] = "",
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Invalidate all answers, on all routers."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        mesh.cache.clear(tenant_id=tenant_id(mesh, tenant))
    if json_:
        print_json({"cleared": tenant or "all"})
    else:
        print_text(f"all answers{f' of {tenant}' if tenant else ''} invalidated")


@app.command()
@reported
def policy(
    key_id: Annotated[
        str | None,
        typer.Argument(help="The key: its id or the beginning of it, or its name; default: list all policies."),
    ] = None,
    mode: Annotated[str, typer.Option("--mode", help=f"When the cache is used: {', '.join(_MODES)}.")] = "default",
    class_: ClassOption = None,
    semantic: Annotated[
        bool,
        typer.Option(
            "--semantic/--exact", help="Share answers between requests of the same meaning, or of the same text only."
        ),
    ] = False,
    threshold: Annotated[
        float, decimal_option("--threshold", least=0, most=1, help="The minimum cosine similarity; 0 for the default.")
    ] = 0,
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Set a key's cache policy, or list cache policies."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        if key_id is None:
            found = list(mesh.cache.list_policies())
        else:
            wanted = cache_pb2.CachePolicy(
                mode=_choice("--mode", mode, _MODES),
                default_class=_choice("--class", class_, _CLASSES) if class_ else cache_pb2.CACHE_CLASS_UNSPECIFIED,
                semantic=semantic,
                semantic_threshold=threshold,
            )

            def set_for(known: str) -> cache_pb2.CachePolicy:
                wanted.key_id = known
                return mesh.cache.set_policy(wanted)

            found = [KEYS.call(mesh, key_id, set_for)]
    if json_:
        print_json({"policies": [describe(policy_) for policy_ in found]})
        return
    rows = [
        [
            policy_.key_id,
            word(cache_pb2.CacheMode, policy_.mode) if policy_.mode else "default",
            word(cache_pb2.CacheClass, policy_.default_class) if policy_.default_class else "default",
            f"from {policy_.semantic_threshold or 'the default'}" if policy_.semantic else "no",
        ]
        for policy_ in found
    ]
    print_table(["key", "mode", "class", "semantic"], rows, empty="no policies", wide=wide)


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        try:
            line = json.loads(text)
        except ValueError as error:
            raise typer.BadParameter(f"{file}: line {number} is not JSON: {error}") from None
        if not isinstance(line, dict) or not isinstance(line.get("request"), dict):
            raise typer.BadParameter(
                f'{file}: line {number}: no "request", which must be the body of a chat completion'
            )
        if not isinstance(line.get("answer", ""), str):
            raise typer.BadParameter(f'{file}: line {number}: "answer" must be the text of the answer')
        yield line


def _entry(line: dict[str, Any]) -> cache_pb2.WarmEntry:
    return cache_pb2.WarmEntry(
        request_json=json.dumps(line["request"], ensure_ascii=False),
        answer=line["answer"],
        finish_reason=str(line.get("finish_reason", "")),
    )


def _sent(mesh: Enginehouse, line: dict[str, Any], headers: list[tuple[str, str]]) -> str:
    result, _ = mesh.cache.create_chat_completion(
        json.dumps(line["request"], ensure_ascii=False).encode(), headers=headers
    )
    return result


def _choice(option: str, given: str, known: dict[str, Any]) -> Any:
    if given not in known:
        raise typer.BadParameter(
            f"{option}: unknown value {given!r}{did_you_mean(given, known)}; known: {', '.join(known)}"
        )
    return known[given]
