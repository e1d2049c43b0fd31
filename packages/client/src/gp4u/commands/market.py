"""The market: search, and an owner's own offers."""

from typing import Any

import click

from gp4u.api import ApiClient
from gp4u.commands.nodes import find_node
from gp4u.output import (
    NOT_FOUND,
    client,
    confirm_or_fail,
    console,
    did_you_mean,
    fail,
    json_option,
    money,
    parse_money,
    print_json,
    state,
    table,
)

HOURS_MAX = 24 * 366
OFFER_COLUMNS = [
    "OFFER",
    "GPU",
    "FREE",
    "VRAM",
    "$/GPU/H",
    "RELIABILITY",
    "UPTIME",
    "FP16/$",
    "REGION",
    "NODE",
]


def _offer_row(offer: dict[str, Any]) -> list[Any]:
    return [
        offer["id"],
        offer["gpu_model"] + (" (simulated)" if offer["simulated"] else ""),
        f"{offer['gpus_free']}/{offer['gpus_total']}",
        f"{offer['vram_gb']} GiB",
        money(offer["price_per_gpu_hour_micros"]),
        f"{offer['reliability'] * 100:.2f} %",
        offer.get("record", ""),
        f"{offer['perf_per_dollar']:.0f}",
        offer["region"],
        offer["node_name"],
    ]


@click.command()
@click.argument("query", nargs=-1)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Most rows to print."
)
@json_option
def search(query: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Search GPUs that can be rented now.

    QUERY is a line of `field op value` and `sort:field` (`sort:-field` from the top). Quote it: the shell would take
    < and > for itself.

    \b
      gp4u search 'gpu_model=RTX_4090 price<=0.60'
      gp4u search 'vram_gb>=24 region=eu-north sort:-perf_per_dollar'

    Fields: gpu_model, vram_gb, price, gpus, region, reliability, perf_per_dollar, fp16_tflops, memory_gb, cpus,
    disk_gb, node, owner, simulated and more: a wrong one is answered with all of them. Operators: = != < <= > >=.
    """
    with client() as api:
        page = api.get("/offers", q=" ".join(query) or None, limit=min(limit, 200))
        offers = list(page["items"])
        while page["next_cursor"] and len(offers) < limit:
            page = api.get("/offers", q=" ".join(query) or None, limit=200, cursor=page["next_cursor"])
            offers += page["items"]
        offers = offers[:limit]
        if as_json:
            print_json({"items": offers, "total": page["total"], "facets": page["facets"]})
            return
        if not offers and query:
            console.print(_what_there_is(api), style="dim")
            return
        table(
            OFFER_COLUMNS,
            [_offer_row(offer) for offer in offers],
            empty="Nobody offers a GPU right now.",
            right=frozenset({2, 3, 4, 5, 6}),
            droppable=["UPTIME", "FP16/$", "RELIABILITY", "NODE", "REGION", "FREE"],
        )
        if page["total"] > len(offers):
            console.print(f"{len(offers)} of {page['total']}; --limit shows more.", style="dim")


def _what_there_is(api: ApiClient) -> str:
    """For a search that found nothing: a mistyped region looks the same as one that is sold out."""
    page = api.get("/offers", limit=1)
    if not page["total"]:
        return "Nothing matches: nobody offers a GPU right now."
    models, regions = (
        ", ".join(sorted(str(value["value"]) for value in page["facets"][name]))
        for name in ("gpu_model", "region")
    )
    return f"Nothing matches. Of {page['total']} offers now, models: {models}; regions: {regions}. `gp4u search` shows all."


@click.group()
def offers() -> None:
    """What you offer as an owner. OFFER is the id of an offer, or the name of its node."""


@offers.command("ls")
@json_option
def list_offers(as_json: bool) -> None:
    """List your offers, in every state."""
    with client() as api:
        items = list(api.pages("/offers/mine"))
        if as_json:
            print_json(items)
            return
        table(
            ["OFFER", "STATE", "GPU", "FREE", "$/GPU/H", "NODE"],
            [
                [
                    item["id"],
                    state(item["state"]),
                    item["gpu_model"],
                    f"{item['gpus_free']}/{item['gpus_total']}",
                    money(item["price_per_gpu_hour_micros"]),
                    item["node_name"],
                ]
                for item in items
            ],
            empty="No offers. List one with `gp4u offers new NODE --price 0.42`.",
        )


@offers.command("new")
@click.argument("node")
@click.option("--price", required=True, help="Per GPU and hour, for example 0.42.")
@click.option("--floor", help="Lowest price for interruptible use.")
@click.option("--min-hours", type=float, help="Shortest booking.")
@click.option("--max-hours", type=float, help="Longest booking.")
@json_option
def new_offer(
    node: str, price: str, floor: str | None, min_hours: float | None, max_hours: float | None, as_json: bool
) -> None:
    """List the GPUs of NODE (name or id)."""
    body: dict[str, Any] = {"price_per_gpu_hour_micros": parse_money(price, "--price")}
    body |= _terms(floor, min_hours, max_hours)
    with client() as api:
        body["node_id"] = find_node(api, node)["id"]
        offer = api.post("/offers", body)
        if as_json:
            print_json(offer)
        else:
            console.print(
                f"Listed {offer['id']}: {offer['gpus_total']} × {offer['gpu_name']} at "
                f"{money(offer['price_per_gpu_hour_micros'])} per GPU and hour."
            )


@offers.command("set")
@click.argument("offer")
@click.option("--price", help="Per GPU and hour.")
@click.option("--floor", help="Lowest price for interruptible use.")
@click.option("--min-hours", type=float, help="Shortest booking.")
@click.option("--max-hours", type=float, help="Longest booking.")
@json_option
def set_offer(
    offer: str,
    price: str | None,
    floor: str | None,
    min_hours: float | None,
    max_hours: float | None,
    as_json: bool,
) -> None:
    """Change the terms of OFFER. Running bookings keep theirs."""
    body = _terms(floor, min_hours, max_hours)
    if price is not None:
        body["price_per_gpu_hour_micros"] = parse_money(price, "--price")
    if not body:
        raise click.UsageError("Say what to change: --price, --floor, --min-hours or --max-hours.")
    _patch(offer, body, as_json)


@offers.command("withdraw")
@click.argument("offer")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def withdraw_offer(offer: str, yes: bool, as_json: bool) -> None:
    """End OFFER for good; running bookings go on. `gp4u offers new` lists the node again."""
    confirm_or_fail(f"Withdraw {offer} for good?", assume_yes=yes)
    _patch(offer, {"state": "withdrawn"}, as_json)


@offers.command("pause")
@click.argument("offer")
@json_option
def pause_offer(offer: str, as_json: bool) -> None:
    """Take OFFER out of search; running bookings go on. Undo with `gp4u offers resume`."""
    _patch(offer, {"state": "paused"}, as_json)


@offers.command("resume")
@click.argument("offer")
@json_option
def resume_offer(offer: str, as_json: bool) -> None:
    """List OFFER again."""
    _patch(offer, {"state": "listed"}, as_json)


def _patch(offer: str, body: dict[str, Any], as_json: bool) -> None:
    with client() as api:
        changed = api.patch(f"/offers/{_offer_id(api, offer)}", body)
        if as_json:
            print_json(changed)
        else:
            console.print(
                f"{changed['id']} is {changed['state']} at {money(changed['price_per_gpu_hour_micros'])}."
            )


def _terms(floor: str | None, min_hours: float | None, max_hours: float | None) -> dict[str, Any]:
    terms: dict[str, Any] = {}
    if floor is not None:
        terms["interruptible_floor_micros"] = parse_money(floor, "--floor")
    if min_hours is not None:
        terms["duration_s_min"] = _seconds(min_hours, "--min-hours")
    if max_hours is not None:
        terms["duration_s_max"] = _seconds(max_hours, "--max-hours")
    return terms


def _seconds(hours: float, option: str) -> int:
    if not 0 < hours <= HOURS_MAX:  # not a number is neither above nor below
        raise click.BadParameter(f"must be more than 0 and at most {HOURS_MAX}", param_hint=option)
    return round(hours * 3600)


def _offer_id(api: ApiClient, reference: str) -> str:
    """An offer of yours by its id, or by the name of its node, which has at most one that stands."""
    mine = [offer for offer in api.pages("/offers/mine") if offer["state"] != "withdrawn"]
    for offer in mine:
        if reference in {offer["id"], offer["node_name"]}:
            return str(offer["id"])
    known = [offer["id"] if reference.startswith("offer_") else offer["node_name"] for offer in mine]
    fail(
        f"You have no offer {reference}.{did_you_mean(reference, known)} `gp4u offers ls` lists them.",
        NOT_FOUND,
    )
