"""`gp4u admin incidents`: what went wrong on all nodes, and rulings on it."""

from datetime import datetime
from typing import Any

import click

from gp4u.commands.node_record import effect_of, percent
from gp4u.output import ago, client, confirm_or_fail, console, json_option, print_json, table

CAUSES = ("host_hardware", "host_software", "renter_job", "network", "platform", "unknown")
KINDS = ("node_lost", "run_lost", "job_failed", "start_failed")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def incidents() -> None:
    """What went wrong on any node: list it, look at the evidence, rule on whose doing it was.

    A ruling wins over the evidence: the node's score follows at once, and the owner reads your reason.
    """


@incidents.command("ls")
@click.option(
    "--cause", type=click.Choice([*CAUSES, "open"]), help="Only these; `open`: evidence is waited for."
)
@click.option("--kind", type=click.Choice(KINDS), help="Only what happened so.")
@click.option("--ruled/--not-ruled", default=None, help="Only those with, or without, an admin's ruling.")
@click.option("--node", "node_id", metavar="NODE_ID", help="Only those of this node.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="Most to print.")
@json_option
def list_incidents(
    cause: str | None, kind: str | None, ruled: bool | None, node_id: str | None, limit: int, as_json: bool
) -> None:
    """List incidents of all nodes, newest first."""
    with client() as api:
        items = list(
            api.pages(
                "/admin/incidents",
                limit=limit,
                cause=cause,
                kind=kind,
                ruled=None if ruled is None else str(ruled).lower(),
                node_id=node_id,
            )
        )
    if as_json:
        print_json(items)
        return
    filtered = any(each is not None for each in (cause, kind, ruled, node_id))
    table(
        ["INCIDENT", "WHEN", "NODE", "WHAT", "ATTRIBUTED TO", "SCORE", "RUNS", "OWNER"],
        [
            [
                item["id"],
                ago(item["began_at"]),
                item["node_name"],
                item["kind"].replace("_", " "),
                item["summary"] + (" (ruled)" if item["ruled"] else ""),
                effect_of(item),
                item["runs_hit"],
                item["owner_email"],
            ]
            for item in items
        ],
        right=frozenset({6}),
        droppable=["RUNS", "OWNER", "WHAT", "WHEN"],
        empty="No incident is so. Leave a filter out." if filtered else "Nothing went wrong so far.",
    )


@incidents.command("show")
@click.argument("incident")
@json_option
def show(incident: str, as_json: bool) -> None:
    """Show INCIDENT: each kind of evidence, what it was attributed to, every ruling, and what that did to the score."""
    with client() as api:
        item = api.get(f"/admin/incidents/{incident}")
    if as_json:
        print_json(item)
    else:
        _explain(item)


@incidents.command("rule")
@click.argument("incident")
@click.argument("cause", type=click.Choice(CAUSES))
@click.option("--reason", required=True, help="A sentence for the owner, who reads it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def rule(incident: str, cause: str, reason: str, yes: bool, as_json: bool) -> None:
    """Say what INCIDENT was, whatever the evidence says. Undo: `gp4u admin incidents undo INCIDENT`."""
    with client() as api:
        if not yes:
            item = api.get(f"/admin/incidents/{incident}")
            confirm_or_fail(
                f"{item['node_name']} of {item['owner_email']}, {ago(item['began_at'])}: {item['summary']}."
                f" Rule that it was {cause.replace('_', ' ')}?",
                assume_yes=yes,
            )
        api.request("PUT", f"/incidents/{incident}/ruling", json={"cause": cause, "reason": reason})
        item = api.get(f"/admin/incidents/{incident}")
    if as_json:
        print_json(item)
    else:
        console.print(f"{incident} is put down to {item['summary']}. Score: {effect_of(item)}.")
        console.print(f"Taken back with `gp4u admin incidents undo {incident}`.", style="dim")


@incidents.command("undo")
@click.argument("incident")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def undo(incident: str, yes: bool, as_json: bool) -> None:
    """Take the ruling on INCIDENT back: what the evidence says holds again. The ruling stays on record."""
    with client() as api:
        confirm_or_fail(f"Take the ruling on {incident} back?", assume_yes=yes)
        api.delete(f"/incidents/{incident}/ruling")
        item = api.get(f"/admin/incidents/{incident}")
    if as_json:
        print_json(item)
    else:
        console.print(f"{incident} is put down to {item['summary']} again. Score: {effect_of(item)}.")


def _explain(item: dict[str, Any]) -> None:
    console.print(f"{item['id']}  {item['kind'].replace('_', ' ')}: {item['summary']}", style="bold")
    facts = [
        ("node", f"{item['node_name']}  {item['node_id']}"),
        ("owner", item["owner_email"]),
        ("began", _local(item["began_at"])),
        ("back", _local(item["returned_at"]) if item["returned_at"] else None),
        ("settled", _local(item["settled_at"]) if item["settled_at"] else "not yet"),
        ("jobs", ", ".join(item["job_ids"]) or None),
        ("ended by", item["reason"]),
        ("says", item["sentence"]),
    ]
    for name, value in facts:
        if value:
            console.print(f"  {name:9} {value}")
    kinds = len({each["witness"] for each in item["evidence"]})
    console.print(f"Evidence of {kinds} independent kind{'' if kinds == 1 else 's'}:", style="dim")
    table(
        ["KIND", "POINTS AT", "WHAT IT SAYS"],
        [
            [
                each["witness"].replace("_", " "),
                (each["points_at"] or "-").replace("_", " "),
                each["sentence"],
            ]
            for each in item["evidence"]
        ],
        empty="None has arrived.",
    )
    for ruling in item["rulings"]:
        undone = f", taken back {ago(ruling['undone_at'])}" if ruling["undone_at"] else ""
        by = f" by {ruling['by']}" if ruling["by"] else ""
        console.print(
            f"Ruled {ruling['cause'].replace('_', ' ')}{by} {ago(ruling['at'])}{undone}: {ruling['reason']}"
        )
    for change in item["score_changes"]:
        console.print(
            f"Score {percent(change['before'])} → {percent(change['after'])} {ago(change['at'])}", style="dim"
        )
    if not item["score_changes"]:
        console.print("Score untouched", style="dim")


def _local(instant: str) -> str:
    return f"{datetime.fromisoformat(instant).astimezone():%Y-%m-%d %H:%M:%S}"
