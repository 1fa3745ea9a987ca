"""`models`: the catalog, and the weights on this machine."""

from __future__ import annotations

import typer

from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.output import JsonFlag, print_json, print_table, reported
from enginehouse.client.answers import price_by_unit
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="List the catalog, fetch weights, add models.")


@app.command("list")
@reported
def list_(
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List the catalog with the engines that serve each model now."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        models = list(mesh.admin.list_models())
    if json_:
        described = [
            {
                "name": model.name,
                "cluster": model.cluster,
                "backend": model.backend,
                "context_tokens": model.context_tokens,
                "capabilities": list(model.capabilities),
                "quality": round(model.quality, 6),
                "prices": price_by_unit(model.prices),
                "endpoints": list(model.endpoints),
            }
            for model in models
        ]
        print_json({"models": described})
        return
    rows = [
        [
            model.name,
            model.backend,
            str(model.context_tokens),
            ", ".join(model.capabilities),
            ", ".join(f"{unit} ${nanos / 10**9:g}" for unit, nanos in price_by_unit(model.prices).items()),
            ", ".join(model.endpoints) or "none",
        ]
        for model in models
    ]
    print_table(
        ["model", "backend", "context", "capabilities", "price a million", "live at"],
        rows,
        empty="the catalog is empty",
    )
