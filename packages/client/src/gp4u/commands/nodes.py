"""An owner's nodes."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from gp4u.api import ApiClient
from gp4u.output import (
    NOT_FOUND,
    ago,
    client,
    confirm_or_fail,
    console,
    did_you_mean,
    fail,
    json_option,
    print_json,
    state,
    table,
)
from gp4u.telemetry import seconds_of, summaries, telemetry_params

_TIME_OF_DAY = re.compile(r"^([01]?\d|2[0-3]):([0-5]\d)$")
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|h|d)\s*$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@click.group()
def nodes() -> None:
    """Your nodes: list, enrol, take out of service, remove."""


@nodes.command("ls")
@json_option
def list_nodes(as_json: bool) -> None:
    """List your nodes."""
    with client() as api:
        items = list(api.pages("/nodes"))
        if as_json:
            print_json(items)
            return
        table(
            ["NODE", "STATE", "GPUS", "JOBS", "UPTIME", "LOSSES", "REGION", "SEEN", "ID"],
            [
                [
                    node["name"],
                    state(node.get("state") or node["liveness"])
                    + (" (watched)" if node.get("watched_reason") else ""),
                    _devices(node["devices"])
                    + (" (simulated)" if node["simulated"] else "")
                    + (" (pool)" if node.get("in_pool") else ""),
                    node["running_jobs"],
                    node.get("record") or f"{node['reliability'] * 100:.2f} %",
                    node["losses"],
                    node["region"],
                    # Heartbeats of a node that is online are not written down; what is stored is the last change.
                    "now" if node["liveness"] == "online" else ago(node["last_seen_at"]),
                    node["id"],
                ]
                for node in items
            ],
            droppable=["ID", "LOSSES", "SEEN", "UPTIME", "REGION"],
            empty="No nodes. `gp4u nodes enrol --region eu-west` shows what to type on the machine.",
        )


@nodes.command("enrol")
@click.option("--region", required=True, help="Where the machine stands, for example eu-west.")
@click.option("--name", help="What to call it (default: its host name).")
@json_option
def enrol(region: str, name: str | None, as_json: bool) -> None:
    """Make a one-time token and show the command to type on the machine."""
    with client() as api:
        token = api.post("/enrolment-tokens", {"region": region, "node_name": name})
        if as_json:
            print_json(token)
        else:
            console.print("On the machine with the GPUs, within 10 minutes:", style="dim")
            click.echo(f"  {token['command']}")


@nodes.command("drain")
@click.argument("node")
@click.option("--reason", help="A sentence for the renters whose jobs move.")
@click.option(
    "--within", "within_s", type=click.IntRange(0, 2_592_000), help="Seconds until you switch it off."
)
@json_option
def drain(node: str, reason: str | None, within_s: int | None, as_json: bool) -> None:
    """Take NODE (name or id) out of service: no new jobs, and those that run move elsewhere."""
    with client() as api:
        found = find_node(api, node)
        shown = api.post(f"/nodes/{found['id']}/drain", {"reason": reason, "within_s": within_s})
        if as_json:
            print_json(shown)
        elif shown["running_jobs"]:
            console.print(
                f"{shown['name']} takes no new jobs. {shown['running_jobs']} running here move elsewhere;"
                " `gp4u nodes ls` says maintenance when none is left."
            )
        else:
            console.print(f"{shown['name']} takes no jobs, and none runs there: you may switch it off.")


@nodes.command("undrain")
@click.argument("node")
@json_option
def undrain(node: str, as_json: bool) -> None:
    """Put NODE (name or id) back into service, from drain, maintenance or quarantine."""
    with client() as api:
        found = find_node(api, node)
        shown = api.post(f"/nodes/{found['id']}/undrain", {})
        if as_json:
            print_json(shown)
        else:
            console.print(f"{shown['name']} is in service.")


@nodes.command("telemetry")
@click.argument("node")
@click.option("--since", default="1h", show_default=True, help="How far back: 90s, 30m, 6h, 7d.")
@click.option("--device", help="One GPU (the beginning of its UUID), or `node` for the machine itself.")
@click.option("--metrics", help="Names, separated by commas; by default all.")
@click.option(
    "--resolution", type=click.Choice(["auto", "10s", "1m", "1h"]), default="auto", show_default=True
)
@json_option
def telemetry(
    node: str, since: str, device: str | None, metrics: str | None, resolution: str, as_json: bool
) -> None:
    """How NODE (name or id) and its GPUs feel: load, heat, power, errors, link."""
    seconds = seconds_of(since)
    with client() as api:
        found = find_node(api, node)
        told = api.get(
            f"/nodes/{found['id']}/telemetry",
            **telemetry_params(
                {
                    "since": datetime.now(UTC) - timedelta(seconds=seconds),
                    "device": device and _device(found, device),
                    "metrics": metrics.split(",") if metrics else None,
                    "resolution": resolution,
                }
            ),
        )
        if as_json:
            print_json(told)
            return
        simulated = " (simulated)" if found["simulated"] else ""
        table(
            ["DEVICE", "METRIC", "LAST", "MEAN", "LOW", "HIGH", "UNIT", "TREND"],
            [
                [
                    f"{(series['device_uuid'] or 'node')[:12]}{simulated if series['device_uuid'] else ''}",
                    *row,
                ]
                for series in told["series"]
                for row in summaries(series)
            ],
            empty=f"{found['name']} told nothing in this time. Nodes that are offline tell nothing.",
            right=frozenset({2, 3, 4, 5}),
            droppable=["TREND", "LOW", "MEAN"],
        )


@nodes.command("events")
@click.argument("node")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@json_option
def events(node: str, limit: int, as_json: bool) -> None:
    """What happened to the GPUs of NODE (name or id): XIDs, memory errors, heat, link. Critical ones drain it."""
    with client() as api:
        found = find_node(api, node)
        items = list(api.pages(f"/nodes/{found['id']}/events", limit=limit))
        if as_json:
            print_json(items)
            return
        table(
            ["WHEN", "SEVERITY", "KIND", "CODE", "WHAT"],
            [
                [
                    ago(item["occurred_at"]),
                    state(item["severity"]),
                    item["kind"],
                    item["code"],
                    item["sentence"],
                ]
                for item in items
            ],
            empty=f"Nothing happened to the GPUs of {found['name']}.",
            droppable=["KIND", "CODE"],
        )


@nodes.command("maintenance")
@click.argument("node")
@click.option(
    "--from", "starts", help="When it begins: 2026-12-01T22:00, 22:00 (the next one), or 2h (from now)."
)
@click.option("--for", "lasts", help="How long: 30m, 2h, 1d.")
@click.option("--reason", help="A sentence for the renters whose jobs move.")
@click.option("--cancel", "cancelled", metavar="WINDOW", help="Cancel this window (its id, or `next`).")
@json_option
def maintenance(
    node: str,
    starts: str | None,
    lasts: str | None,
    reason: str | None,
    cancelled: str | None,
    as_json: bool,
) -> None:
    """Plan a maintenance window of NODE (name or id), cancel one, or list them.

    Jobs are moved before it begins, the node takes nothing that would run into it, and is back by itself after it.
    """
    if (starts is None) != (lasts is None):
        raise click.UsageError("Say both --from and --for.")
    with client() as api:
        found = find_node(api, node)
        if cancelled is not None:
            window = _window(found, cancelled)
            api.delete(f"/nodes/{found['id']}/maintenance/{window['id']}")
            if as_json:
                print_json({"cancelled": window["id"]})
            else:
                console.print(f"Cancelled: {found['name']} stays in service.")
        elif starts is not None and lasts is not None:
            body = {
                "starts_at": instant(starts, datetime.now().astimezone()).isoformat(),
                "duration_s": round(seconds(lasts, "--for")),
                "reason": reason,
            }
            planned = api.post(f"/nodes/{found['id']}/maintenance", body)
            if as_json:
                print_json(planned)
            else:
                console.print(
                    f"{found['name']} is in maintenance from {_local(planned['starts_at'])} until "
                    f"{_local(planned['ends_at'])}; its jobs move before. Cancel: "
                    f"`gp4u nodes maintenance {found['name']} --cancel {planned['id']}`."
                )
        elif as_json:
            print_json(found["windows"])
        else:
            table(
                ["WINDOW", "FROM", "UNTIL", "STATE", "REASON"],
                [
                    [
                        window["id"],
                        _local(window["starts_at"]),
                        _local(window["ends_at"]),
                        state(window["state"]),
                        window["reason"] or "-",
                    ]
                    for window in found["windows"]
                ],
                droppable=["REASON"],
                empty="No maintenance is planned. `--from 22:00 --for 2h` plans one.",
            )


@nodes.group("pool")
def pool() -> None:
    """The replacement pool: nodes that take only jobs that lost theirs."""


@pool.command("add")
@click.argument("node")
@json_option
def pool_add(node: str, as_json: bool) -> None:
    """Put NODE (name or id) into the replacement pool: it leaves search, and is first for jobs that lost their node."""
    with client() as api:
        found = find_node(api, node)
        shown = api.request("PUT", f"/nodes/{found['id']}/pool")
        if as_json:
            print_json(shown)
        else:
            console.print(f"{shown['name']} takes only jobs that lost their node, at its offer's price.")


@pool.command("remove")
@click.argument("node")
@json_option
def pool_remove(node: str, as_json: bool) -> None:
    """Take NODE (name or id) out of the replacement pool: it is on the market again."""
    with client() as api:
        found = find_node(api, node)
        shown = api.request("DELETE", f"/nodes/{found['id']}/pool")
        if as_json:
            print_json(shown)
        else:
            console.print(f"{shown['name']} is on the market.")


@nodes.command("rm")
@click.argument("node")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def remove(node: str, yes: bool, as_json: bool) -> None:
    """Remove NODE (name or id): its offers are withdrawn and its key opens no session any more."""
    with client() as api:
        found = find_node(api, node)
        confirm_or_fail(f"Remove {found['name']}?", assume_yes=yes)
        api.delete(f"/nodes/{found['id']}")
        if as_json:
            print_json({"removed": found["id"], "name": found["name"]})
        else:
            console.print(f"Removed {found['name']}.")


def find_node(api: ApiClient, reference: str) -> dict[str, Any]:
    """The caller's node with this id or name; exits with a suggestion when there is none."""
    mine = list(api.pages("/nodes"))
    for node in mine:
        if reference in {node["id"], node["name"]}:
            return node
    known = [node["id"] if reference.startswith("node_") else node["name"] for node in mine]
    fail(
        f"You have no node {reference}.{did_you_mean(reference, known)} `gp4u nodes ls` lists them.",
        NOT_FOUND,
    )


def _device(node: dict[str, Any], reference: str) -> str:
    if reference == "node":
        return reference
    known = [device["uuid"] for device in node["devices"]]
    meant = [uuid for uuid in known if uuid.startswith(reference)]
    if len(meant) != 1:
        fail(
            f"{node['name']} has {'no' if not meant else 'more than one'} GPU {reference}: it has {', '.join(known)}.",
            NOT_FOUND,
        )
    return str(meant[0])


def instant(text: str, now: datetime) -> datetime:
    """What a person means by a point in time, not before `now`'s day: an ISO instant (local when it names no zone), a time
    of day (the next one), or a duration from now."""
    match = _TIME_OF_DAY.match(text.strip())
    if match:
        at = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return at if at > now else at + timedelta(days=1)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return now + timedelta(seconds=seconds(text, "--from"))
    return at if at.tzinfo is not None else at.astimezone()


def seconds(text: str, option: str) -> float:
    """A duration such as 90s, 30m, 2h or 1d."""
    match = _DURATION.match(text)
    if not match:
        raise click.BadParameter(
            f"{text!r} is neither a time nor a duration such as 30m or 2h.", param_hint=option
        )
    return float(match[1]) * _SECONDS[match[2]]


def _window(node: dict[str, Any], reference: str) -> dict[str, Any]:
    for window in node["windows"]:
        if reference in {window["id"], "next"}:
            found: dict[str, Any] = window
            return found
    fail(f"{node['name']} has no maintenance window {reference}.", NOT_FOUND)


def _local(at: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone():%Y-%m-%d %H:%M}"


def _devices(devices: list[dict[str, Any]]) -> str:
    models = sorted({device["model"] for device in devices})
    said = ", ".join(f"{sum(d['model'] == model for d in devices)} × {model}" for model in models) or "none"
    failed = sum(bool(device.get("fault")) for device in devices)
    return f"{said}, {failed} failed" if failed else said
