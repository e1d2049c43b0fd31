"""An owner's nodes."""

import click

from gp4u.output import ago, client, confirm_or_fail, console, fail, json_option, print_json, state, table


@click.group()
def nodes() -> None:
    """Your nodes: list, enrol, remove."""


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
            ["NODE", "STATE", "GPUS", "JOBS", "RELIABILITY", "LOSSES", "REGION", "SEEN", "ID"],
            [
                [
                    node["name"],
                    state(node["liveness"]),
                    _devices(node["devices"]) + (" (simulated)" if node["simulated"] else ""),
                    node["running_jobs"],
                    f"{node['reliability'] * 100:.2f} %",
                    node["losses"],
                    node["region"],
                    ago(node["last_seen_at"]),
                    node["id"],
                ]
                for node in items
            ],
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
            console.print("On the machine, within 10 minutes:", style="dim")
            click.echo(f"  {token['command']}")


@nodes.command("rm")
@click.argument("node")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(node: str, yes: bool) -> None:
    """Remove NODE (name or id): its offers are withdrawn and its key opens no session any more."""
    with client() as api:
        matches = [item for item in api.pages("/nodes") if node in {item["id"], item["name"]}]
        if not matches:
            fail(f"You have no node {node}. `gp4u nodes ls` lists them.", 4)
        confirm_or_fail(f"Remove {matches[0]['name']}?", assume_yes=yes)
        api.delete(f"/nodes/{matches[0]['id']}")
        console.print(f"Removed {matches[0]['name']}.")


def _devices(devices: list[dict[str, str]]) -> str:
    models = sorted({device["model"] for device in devices})
    return ", ".join(f"{sum(d['model'] == model for d in devices)} × {model}" for model in models) or "none"
