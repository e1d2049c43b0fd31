"""A node's record: its score, what changed it, and what happened on it."""

from typing import Any

import click

from gp4u.commands.nodes import find_node, nodes
from gp4u.output import ago, client, console, json_option, print_json, table

SHOWN = click.IntRange(1, 1000)


@nodes.command("score")
@click.argument("node")
@click.option("--limit", default=20, show_default=True, type=SHOWN, help="Most changes to print.")
@json_option
def score(node: str, limit: int, as_json: bool) -> None:
    """Show the score of NODE (name or id), what it rests on, and every event that changed it."""
    with client() as api:
        found = find_node(api, node)
        told = api.get(f"/nodes/{found['id']}/score")
        changes = list(api.pages(f"/nodes/{found['id']}/score/changes", limit=limit))
        if as_json:
            print_json({**told, "changes": changes})
            return
        console.print(
            f"{found['name']}: {told['record']}; stays up for a day with {percent(told['reliability'])}"
            f" ({percent(told['reliability_low'])} to {percent(told['reliability_high'])},"
            f" {told['interval'] * 100:.0f} % interval)"
        )
        console.print(
            f"Expected of it before it was seen: {percent(told['expected'])}, from"
            f" {sample(told['fleet'])} of its GPU model elsewhere and {sample(told['owner'])} of your other nodes.",
            style="dim",
        )
        table(
            ["WHEN", "BEFORE", "AFTER", "EVENT", "INCIDENT"],
            [
                [
                    ago(change["at"]),
                    percent(change["before"]),
                    percent(change["after"]),
                    change["reason"],
                    change["incident_id"] or "",
                ]
                for change in changes
            ],
            droppable=["INCIDENT", "BEFORE"],
            empty="Nothing has changed its score but time.",
        )


@nodes.command("incidents")
@click.argument("node")
@click.option("--limit", default=20, show_default=True, type=SHOWN, help="Most incidents to print.")
@click.option("--evidence", is_flag=True, help="With the evidence for each.")
@json_option
def incidents(node: str, limit: int, evidence: bool, as_json: bool) -> None:
    """List what happened on NODE (name or id): losses and failed runs, and what each is attributed to."""
    with client() as api:
        found = find_node(api, node)
        items = list(api.pages(f"/nodes/{found['id']}/incidents", limit=limit))
        if as_json:
            print_json(items)
        elif evidence and items:
            for item in items:
                _explain(item)
        else:
            table(
                ["WHEN", "WHAT", "ATTRIBUTED TO", "RUNS", "SCORE", "INCIDENT"],
                [
                    [
                        ago(item["began_at"]),
                        item["kind"].replace("_", " "),
                        item["summary"],
                        item["runs_hit"],
                        effect_of(item),
                        item["id"],
                    ]
                    for item in items
                ],
                droppable=["INCIDENT", "RUNS"],
                empty="Nothing went wrong on this node so far.",
            )


def percent(share: float) -> str:
    """For example 98.88 %."""
    return f"{share * 100:.2f} %"


def sample(tally: dict[str, Any]) -> str:
    """For example "2 losses in 1,204 hours"."""
    losses = tally["losses"]
    return f"{losses} loss{'' if losses == 1 else 'es'} in {tally['online_h']:,.0f} hours"


def effect_of(item: dict[str, Any]) -> str:
    """What an incident did to the score, from before its first change to after its last; for example
    "98.88 % → 97.61 %"."""
    if not item["score_changes"]:
        return "untouched"
    before, after = item["score_changes"][0]["before"], item["score_changes"][-1]["after"]
    return "untouched" if abs(before - after) < 5e-7 else f"{percent(before)} → {percent(after)}"


def _explain(item: dict[str, Any]) -> None:
    console.print(
        f"{item['id']}  {item['kind'].replace('_', ' ')}, {ago(item['began_at'])}: {item['summary']}"
    )
    for each in item["evidence"]:
        console.print(f"  {each['witness'].replace('_', ' ')}: {each['sentence']}", style="dim")
    for ruling in item["rulings"]:
        undone = " (taken back)" if ruling["undone_at"] else ""
        console.print(f"  ruled {ruling['cause'].replace('_', ' ')}{undone}: {ruling['reason']}", style="dim")
    console.print(f"  score: {effect_of(item)}", style="dim")
