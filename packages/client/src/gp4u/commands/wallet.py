"""Money: the wallet of a renter, the earnings of an owner."""

import click

from gp4u.output import ago, client, console, duration, json_option, money, parse_money, print_json, table


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def wallet(context: click.Context, as_json: bool) -> None:
    """Show the balance; `gp4u wallet top-up`, `entries` and `receipt` do more."""
    if context.invoked_subcommand:
        return
    with client() as api:
        balance = api.get("/wallet")
        if as_json:
            print_json(balance)
            return
        console.print(f"Available   {money(balance['available_micros'])}", style="bold")
        console.print(f"Held        {money(balance['held_micros'])}   for running bookings")
        console.print(f"Spent       {money(balance['spent_30d_micros'])}   in the last 30 days")


@wallet.command("top-up")
@click.argument("amount")
@json_option
def top_up(amount: str, as_json: bool) -> None:
    """Pay AMOUNT in, for example 25. In the demo no real money moves."""
    with client() as api:
        balance = api.post("/wallet/top-ups", {"amount_micros": parse_money(amount, "AMOUNT")})
        if as_json:
            print_json(balance)
        else:
            console.print(f"Available now: {money(balance['available_micros'])}")


@wallet.command("entries")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000))
@json_option
def entries(limit: int, as_json: bool) -> None:
    """What moved the balance, newest first."""
    with client() as api:
        items = list(api.pages("/wallet/entries", limit=limit))
        if as_json:
            print_json(items)
            return
        table(
            ["WHEN", "WHAT", "AMOUNT", "BALANCE", "FOR"],
            [
                [
                    ago(e["at"]),
                    e["kind"],
                    money(e["amount_micros"]),
                    money(e["balance_after_micros"]),
                    e["description"],
                ]
                for e in items
            ],
            empty="Nothing yet. `gp4u wallet top-up 25` pays in.",
            droppable=["BALANCE"],
            right=frozenset({2, 3}),
        )


@wallet.command("receipt")
@click.argument("booking")
@json_option
def receipt(booking: str, as_json: bool) -> None:
    """The bill of one BOOKING, second by second."""
    with client() as api:
        bill = api.get(f"/bookings/{booking}/receipt")
        if as_json:
            print_json(bill)
            return
        table(
            ["FROM", "SECONDS", "BILLED", "WHY"],
            [
                [line["started_at"], f"{line['seconds']:.3f}", "yes" if line["billed"] else "no", line["why"]]
                for line in bill["lines"]
            ],
            empty="Nothing ran under this booking: a zero receipt.",
            right=frozenset({1}),
        )
        rate = money(bill["rate_per_hour_micros"])
        kept = bill["charged_micros"] - bill["refunded_micros"]
        console.print(
            f"{bill['billed_us'] / 1e6:.3f} s at {rate} per hour = {money(kept + bill['unpaid_micros'])}",
            style="bold",
        )
        unpaid = f" · not covered {money(bill['unpaid_micros'])}" if bill["unpaid_micros"] else ""
        console.print(
            f"owner {money(bill['owner_micros'])} · platform {money(bill['platform_micros'])} · "
            f"given back {money(bill['refunded_micros'])}{unpaid}{'' if bill['final'] else ' · still running'}"
        )


@click.command()
@json_option
def earnings(as_json: bool) -> None:
    """What your nodes earned, with the split visible."""
    with client() as api:
        report = api.get("/earnings")
        if as_json:
            print_json(report)
            return
        console.print(
            f"Earned {money(report['earned_total_micros'])} in all, {money(report['earned_24h_micros'])} in 24 h. "
            f"Your share: {report['owner_share_percent']} %.",
            style="bold",
        )
        table(
            ["NODE", "BILLED", "GROSS", "PLATFORM", "YOURS"],
            [
                [
                    node["node_name"],
                    duration(node["billed_s"]),
                    money(node["gross_micros"]),
                    money(node["platform_fee_micros"]),
                    money(node["earned_micros"]),
                ]
                for node in report["by_node"]
            ],
            empty="Nothing earned yet.",
            right=frozenset({1, 2, 3, 4}),
        )
