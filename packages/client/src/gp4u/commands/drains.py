"""`gp4u admin drains`: signs of failing that too many nodes showed at once, and what to do about them."""

import click

from gp4u.output import ago, client, confirm_or_fail, console, json_option, print_json, table


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def drains() -> None:
    """Drains that are held back, because too many nodes showed the same sign at once.

    Nothing is moved by such a sign until you confirm that the GPUs fail, or dismiss it. Either goes for a day.
    """


@drains.command("ls")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Most to print.")
@json_option
def list_drains(limit: int, as_json: bool) -> None:
    """List held drains, newest first."""
    with client() as api:
        items = list(api.pages("/admin/drain-holds", limit=limit))
    if as_json:
        print_json(items)
        return
    table(
        ["HOLD", "SIGN", "STATE", "NODES", "BEGAN", "LAST SEEN", "WHY"],
        [
            [
                item["id"],
                f"{item['kind']} {item['code']}",
                item["state"],
                item["nodes_held"],
                ago(item["began_at"]),
                ago(item["last_sign_at"]),
                item["decided_reason"] or item["reason"],
            ]
            for item in items
        ],
        right=frozenset({3}),
        droppable=["WHY", "LAST SEEN", "BEGAN"],
        empty="No drain is held: no sign was shown by too many nodes at once.",
    )


@drains.command("confirm")
@click.argument("hold")
@click.option("--reason", required=True, help="Why you think so; it is kept.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def confirm(hold: str, reason: str, yes: bool, as_json: bool) -> None:
    """The GPUs of HOLD do fail: its nodes are drained, a few a second, and their jobs move."""
    confirm_or_fail(f"Drain every node of {hold}?", assume_yes=yes)
    _decide(hold, "confirmed", reason, as_json)


@drains.command("dismiss")
@click.argument("hold")
@click.option("--reason", required=True, help="Why you think so; it is kept.")
@json_option
def dismiss(hold: str, reason: str, as_json: bool) -> None:
    """HOLD is no failure: its nodes stay in service. Nodes drained before it began stay out until `gp4u nodes undrain`."""
    _decide(hold, "dismissed", reason, as_json)


def _decide(hold: str, decision: str, reason: str, as_json: bool) -> None:
    with client() as api:
        item = api.request(
            "PUT", f"/admin/drain-holds/{hold}/decision", json={"decision": decision, "reason": reason}
        )
    if as_json:
        print_json(item)
    else:
        console.print(f"{hold} ({item['kind']} {item['code']}, {item['nodes_held']} nodes) is {decision}.")
