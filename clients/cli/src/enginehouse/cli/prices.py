"""The commands `prices` and `discounts`."""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import typer

from enginehouse.api.router.v1 import prices_pb2
from enginehouse.cli.connection import ApiKeyOption, DataOption, UrlOption, connect
from enginehouse.cli.names import DISCOUNTS, KEYS, PRICES, TENANTS, TIERS, list_of
from enginehouse.cli.output import JsonFlag, dollars, print_json, print_text, reported
from enginehouse.cli.tables import WideFlag, print_table
from enginehouse.cli.timestamps import day_and_time, flag_milliseconds, timestamp_option
from enginehouse.cli.values import MAX_PRICE_NANOS, whole_argument
from enginehouse.client.requests.billing import DISCOUNT_SUBJECTS, UNITS
from enginehouse.local.datadir import DEFAULT

app = typer.Typer(no_args_is_help=True, help="Set, list and cancel prices.")
discounts_app = typer.Typer(no_args_is_help=True, help="Set, list and cancel discounts.")

_UNIT_WORDS = {value: word for word, value in UNITS.items()}
_SUBJECT_WORDS = {value: word for word, value in DISCOUNT_SUBJECTS.items()}
_FromOption = Annotated[
    datetime.datetime | None, timestamp_option("--from", help="From this time on (UTC); default: now.")
]
_AllFlag = Annotated[bool, typer.Option("--all", help="Include past and future ones.")]


@app.command("set")
@reported
def set_price(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    unit: Annotated[str, typer.Argument(help=f"One of {', '.join(UNITS)}, or an engine's own.")],
    nanos: Annotated[
        int | None,
        whole_argument(
            least=0, most=MAX_PRICE_NANOS, help="Nano-dollars (10^-9 USD) per million; default: the catalog's price."
        ),
    ] = None,
    from_: _FromOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Set the price of a unit of a model from a time on. Earlier costs stay."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        price = mesh.billing.set_price(model, unit, nanos, from_ms=flag_milliseconds(from_, "--from"))
    if json_:
        print_json(_price(price))
    else:
        print_text(f"{price.price_id}: {model} {unit} at {_amount(price)} from {day_and_time(price.from_ms)} on")


@app.command("list")
@reported
def list_prices(
    model: Annotated[str, typer.Option("--model", help="Only this model.")] = "",
    all_: _AllFlag = False,
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List current prices, before discounts."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        prices = list(mesh.billing.list_prices(model=model, holding_only=not all_))
    if json_:
        print_json({"prices": [_price(price) for price in prices]})
        return
    rows = [
        [
            price.model,
            _unit(price),
            _amount(price),
            day_and_time(price.from_ms) if price.price_id else "catalog",
            "current" if price.holds else "",
            price.price_id,
        ]
        for price in prices
    ]
    print_table(["model", "unit", "per million", "from", "state", "id"], rows, empty="no prices", wide=wide)


@app.command()
@reported
def cancel(
    price_id: Annotated[
        str, typer.Argument(help="The price's id, or the beginning of it; `prices list --all` shows them.")
    ],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Cancel a future price."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        price = PRICES.call(mesh, price_id, mesh.billing.delete_price)
    if json_:
        print_json(_price(price))
    else:
        print_text(f"{price.price_id} cancelled")


@discounts_app.command("set")
@reported
def set_discount(
    basis_points: Annotated[
        int | None,
        whole_argument(least=0, most=10_000, help="The discount in hundredths of a percent; leave out to end it."),
    ] = None,
    key: Annotated[str, typer.Option("--key", help="For this key: its id or the beginning of it, or its name.")] = "",
    tenant: Annotated[str, typer.Option("--tenant", help="For all keys of this tenant.")] = "",
    tier: Annotated[str, typer.Option("--tier", help="For all tenants of this tier.")] = "",
    model: Annotated[str, typer.Option("--model", help="For this model only.")] = "",
    from_: _FromOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Set a discount on list prices from a time on. Only the most specific discount applies."""
    given = [(subject, id_) for subject, id_ in (("key", key), ("tenant", tenant), ("tier", tier)) if id_]
    if len(given) != 1:
        raise typer.BadParameter("give exactly one of --key, --tenant and --tier")
    subject, subject_id = given[0]
    start_ms = flag_milliseconds(from_, "--from")
    with connect(url=url, api_key=api_key, data=data) as mesh:

        def set_for(known: str) -> prices_pb2.Discount:
            return mesh.billing.set_discount(subject, known, basis_points, model=model, from_ms=start_ms)

        kind = {"key": KEYS, "tenant": TENANTS}.get(subject)
        made = set_for(subject_id) if kind is None else kind.call(mesh, subject_id, set_for)
    if json_:
        print_json(_discount(made))
    else:
        share = _percent(made)
        owner = f"{subject} {made.subject_id or subject_id}"
        print_text(f"{made.discount_id}: {share} for the {owner} from {day_and_time(made.from_ms)} on")


@discounts_app.command("list")
@reported
def list_discounts(
    of: Annotated[
        str, typer.Option("--of", help="Only this key, tenant or tier: an id or the beginning of one, or a name.")
    ] = "",
    all_: _AllFlag = False,
    wide: WideFlag = False,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """List current discounts."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        discounts = list_of(
            mesh,
            of,
            lambda known: list(mesh.billing.list_discounts(subject_id=known, holding_only=not all_)),
            kinds=(KEYS, TENANTS, TIERS),
        )
    if json_:
        print_json({"discounts": [_discount(discount) for discount in discounts]})
        return
    rows = [
        [
            _SUBJECT_WORDS.get(discount.subject, "?"),
            discount.subject_id,
            discount.model or "every model",
            _percent(discount),
            day_and_time(discount.from_ms),
            "current" if discount.holds else "",
            discount.discount_id,
        ]
        for discount in discounts
    ]
    print_table(["for", "of", "model", "discount", "from", "state", "id"], rows, empty="no discounts", wide=wide)


@discounts_app.command("cancel")
@reported
def cancel_discount(
    discount_id: Annotated[
        str, typer.Argument(help="The discount's id, or the beginning of it; `discounts list --all` shows them.")
    ],
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    data: DataOption = DEFAULT,
    json_: JsonFlag = False,
) -> None:
    """Cancel a future discount."""
    with connect(url=url, api_key=api_key, data=data) as mesh:
        discount = DISCOUNTS.call(mesh, discount_id, mesh.billing.delete_discount)
    if json_:
        print_json(_discount(discount))
    else:
        print_text(f"{discount.discount_id} cancelled")


def _amount(price: prices_pb2.Price) -> str:
    return dollars(price.nanos_per_million) if price.HasField("nanos_per_million") else "the catalog's price"


def _percent(discount: prices_pb2.Discount) -> str:
    if not discount.HasField("basis_points"):
        return "no discount"
    return f"{discount.basis_points / 100:g} %"


def _unit(price: prices_pb2.Price) -> str:
    return price.unit_name or _UNIT_WORDS.get(price.unit, str(price.unit))


def _price(price: prices_pb2.Price) -> dict[str, Any]:
    return {
        "id": price.price_id,
        "model": price.model,
        "unit": _unit(price),
        "nanos_per_million": price.nanos_per_million if price.HasField("nanos_per_million") else None,
        "from_ms": price.from_ms,
        "holds": price.holds,
    }


def _discount(discount: prices_pb2.Discount) -> dict[str, Any]:
    return {
        "id": discount.discount_id,
        "subject": _SUBJECT_WORDS.get(discount.subject, ""),
        "subject_id": discount.subject_id,
        "model": discount.model,
        "basis_points": discount.basis_points if discount.HasField("basis_points") else None,
        "from_ms": discount.from_ms,
        "holds": discount.holds,
    }
