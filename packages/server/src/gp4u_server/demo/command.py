"""`gp4u demo`: play with the demo fleet. Exit codes are those of the `gp4u` command (see `gp4u.cli`)."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from gp4u import config
from gp4u.api import ApiClient
from gp4u.config import Credentials
from gp4u.output import json_option, print_json, table, translated

from gp4u_server.demo.failover import FailoverStory, StoryFailed
from gp4u_server.demo.roster import PASSWORD


def _address(given: str | None, data: Path) -> str:
    """--url, GP4U_URL, what runs on the data folder, or the marketplace of the last `gp4u login`, in this order."""
    if given or os.environ.get("GP4U_URL"):
        return (given or os.environ["GP4U_URL"]).rstrip("/")
    try:
        return str(json.loads((data / "run" / "status.json").read_text())["address"])
    except (OSError, ValueError, KeyError):
        return config.load().url


def sign_in(url: str, who: str = "renter") -> ApiClient:
    """A client signed in as one of the demo accounts. Raises ApiError."""
    with ApiClient(Credentials(url=url)) as api:
        tokens = api.post("/auth/token", {"email": f"{who}@gp4u.demo", "password": PASSWORD})
    return ApiClient(
        Credentials(url, tokens["user"]["email"], tokens["access_token"], tokens["refresh_token"])
    )


@click.group()
@click.option("--url", help="Address of the marketplace; by default the one that runs on the data folder.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: os.environ.get("GP4U_DATA", ".gp4u"),
    show_default="$GP4U_DATA, else .gp4u here",
    help="Folder of the running `gp4u up --demo`.",
)
@click.pass_context
def demo(context: click.Context, url: str | None, data: Path) -> None:
    """Kill, cut and revive the nodes of the demo, for real; let their simulated GPUs fail."""
    context.obj = _address(url, Path(data))


@demo.command()
@json_option
@click.pass_obj
@translated
def nodes(url: str, as_json: bool) -> None:
    """List the demo's nodes."""
    with sign_in(url) as api:
        _show(api.get("/demo/nodes"), as_json=as_json)


def _on_node(help_text: str, act: Callable[[ApiClient, str], Any]) -> Callable[..., None]:
    @click.argument("name")
    @json_option
    @click.pass_obj
    @translated
    def command(url: str, name: str, as_json: bool) -> None:
        with sign_in(url) as api:
            node = act(api, name)
        if as_json:
            print_json(node)
        else:
            _show([node], as_json=False)

    command.__doc__ = help_text
    return command


@demo.command("kill-node")
@click.argument("name")
@click.option("--stay-dead", is_flag=True, help="Do not start it again by itself after 30 s.")
@json_option
@click.pass_obj
@translated
def kill_node(url: str, name: str, stay_dead: bool, as_json: bool) -> None:
    """kill -9 of a node's agent, its shims and its jobs, as when a machine loses power."""
    with sign_in(url) as api:
        node = api.post(f"/demo/nodes/{name}/kill{'?stay_dead=true' if stay_dead else ''}")
    _show([node], as_json=as_json)


demo.command("revive")(
    _on_node("Start a killed node's agent now.", lambda api, name: api.post(f"/demo/nodes/{name}/revive"))
)
demo.command("heal")(
    _on_node(
        "Make a node's link whole again.",
        lambda api, name: api.post(f"/demo/nodes/{name}/link", {"mode": "up"}),
    )
)


demo.command("repair")(
    _on_node(
        "Make a node's GPUs as new, and put it back into service.",
        lambda api, name: api.post(f"/demo/nodes/{name}/repair"),
    )
)


@demo.command()
@click.argument("name")
@click.argument("kind", type=click.Choice(["xid", "ecc", "hot", "job_error"]))
@click.option("--device", type=click.IntRange(0, 15), default=0, show_default=True, help="Which GPU.")
@click.option("--xid", "code", type=click.IntRange(1, 1000), help="Another XID than the usual one.")
@json_option
@click.pass_obj
@translated
def fault(url: str, name: str, kind: str, device: int, code: int | None, as_json: bool) -> None:
    """Let a simulated GPU of node NAME fail: its jobs move before it dies. `gp4u demo repair` mends it.

    xid: it falls off the bus (XID 79). ecc: a memory error that cannot be corrected. hot: its hardware slows it down, and
    after a minute its jobs move. job_error: XID 31, which is the job's own fault, so nothing happens to the node.
    """
    with sign_in(url) as api:
        body = {"kind": kind, "device": device, "code": code}
        _show([api.post(f"/demo/nodes/{name}/fault", body)], as_json=as_json)


@demo.command()
@click.argument("name")
@click.option(
    "--mode",
    type=click.Choice(["cut", "slow", "lossy", "poor", "half_open"]),
    default="cut",
    show_default=True,
    help="cut: silence both ways; slow: delayed; lossy: stalls as TCP does on lost packets; poor: both; half_open: the node is not heard.",
)
@click.option(
    "--delay-ms", type=click.IntRange(0, 60_000), default=300, show_default=True, help="For slow and poor."
)
@click.option(
    "--loss-percent", type=click.FloatRange(0, 100), default=20, show_default=True, help="For lossy and poor."
)
@json_option
@click.pass_obj
@translated
def cut(url: str, name: str, mode: str, delay_ms: int, loss_percent: float, as_json: bool) -> None:
    """Cut a node's link, or make it bad, until `gp4u demo heal`."""
    body = {"mode": mode, "delay_ms": delay_ms, "loss_percent": loss_percent}
    with sign_in(url) as api:
        _show([api.post(f"/demo/nodes/{name}/link", body)], as_json=as_json)


@demo.command()
@click.option(
    "--epochs", type=click.IntRange(10, 1000), default=40, show_default=True, help="Length of the job."
)
@json_option
@click.pass_obj
@translated
def failover(url: str, epochs: int, as_json: bool) -> None:
    """The whole story: train, kill the node in the middle, watch it finish elsewhere, compare the results."""
    try:
        with sign_in(url) as api:
            outcome = FailoverStory(api, epochs=epochs, quiet=as_json).tell()
    except StoryFailed as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(outcome))
    if not outcome["result_equals_undisturbed"]:
        raise click.ClickException("The result differs from the undisturbed one.")


def _show(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    table(
        ["NODE", "GPUS", "REGION", "OWNER", "AGENT", "LINK", "JOBS"],
        [
            [
                node["name"],
                f"{node['gpus']} × {node['gpu_model']} (simulated)",
                node["region"],
                node["owner"],
                "running" if node["agent_running"] else "dead",
                node["link"],
                ", ".join(node["job_ids"]) or "-",
            ]
            for node in found
        ],
        empty="The demo has no nodes.",
        droppable=["OWNER", "REGION", "GPUS"],
    )
