"""`gp4u agent`: join, run, status, facts. Exit codes are those of the `gp4u` command (see `gp4u.cli`)."""

import asyncio
import fcntl
import json
import logging
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import httpx2
from gp4u_protocol.messages import AGENT_SOCKET_PATH

from gp4u_agent.addresses import Addresses
from gp4u_agent.agent import Agent, AlreadyRunning
from gp4u_agent.connection import SessionRefused
from gp4u_agent.facts import simulated
from gp4u_agent.facts.collect import RuntimeChoice, Sensors, choose_runtime
from gp4u_agent.facts.simulated import SimulationSpec
from gp4u_agent.facts.transparent import CHOICES
from gp4u_agent.identity import (
    DEFAULT_STATE_DIR,
    KeyUnreadable,
    Membership,
    NodeKey,
    NotJoined,
    StateDir,
)
from gp4u_agent.placement_dir import PlacementDir

JOIN_TIMEOUT_S = 30.0
EXIT_FAILED, EXIT_USAGE, EXIT_REFUSED, EXIT_NOT_FOUND, EXIT_CONFLICT, EXIT_UNREACHABLE = 1, 2, 3, 4, 5, 7

WHAT_TO_DO = {
    "enrolment_token_invalid": "Ask for a new one under Nodes → Add a node, or with `gp4u nodes enrol`; each is good once.",
    "key_in_use": "This machine has joined already. Use another --state folder for a second node.",
    "device_elsewhere": "Remove the other node first.",
    "wrong_key": "The key in the state folder is not this node's. Restore the folder, or remove the node and join again.",
    "proof_invalid": "The key in the state folder is not this node's. Restore the folder, or remove the node and join again.",
    "unknown_node": "The marketplace does not know this node any more. Join again with a new token.",
    "node_removed": "The owner removed this node. Join again with a new token and another --state folder.",
    "protocol_version": "Update the agent: pip install --upgrade gp4u-agent",
}


class AgentError(click.ClickException):
    """A message for people and an exit code for programs."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click's own subclasses do the same


def _state_option(command: Any) -> Any:
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STATE_DIR,
        show_default=True,
        help="Folder of this node's key and jobs.",
    )(command)


def _simulate_option(command: Any) -> Any:
    return click.option(
        "--simulate",
        type=click.Path(path_type=Path, dir_okay=False),
        help="YAML file of invented GPUs, for demonstrations; the node is marked as simulated everywhere.",
    )(command)


def _unisolated_option(command: Any) -> Any:
    return click.option(
        "--allow-unisolated",
        is_flag=True,
        help="Run jobs without isolation where the sandbox cannot work. For demonstrations only.",
    )(command)


def _whole_option(command: Any) -> Any:
    return click.option(
        "--save-whole",
        type=click.Choice(CHOICES),
        default="auto",
        show_default=True,
        envvar="GP4U_SAVE_WHOLE",
        help="By what jobs that know nothing of checkpoints are saved, memory and all; auto: runc and CRIU, else gVisor.",
    )(command)


def _address_options(command: Any) -> Any:
    gateway = click.option(
        "--gateway",
        "gateways",
        multiple=True,
        metavar="URL",
        help="A gateway's address, beside those that the marketplace names; several times for several.",
    )
    api = click.option(
        "--api",
        "apis",
        multiple=True,
        metavar="URL",
        help="Another address of the marketplace's API, likewise.",
    )
    return gateway(api(command))


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def agent() -> None:
    """Offer this machine's GPUs and run jobs."""


@agent.command()
@click.argument("url")
@click.option(
    "--token", required=True, envvar="GP4U_ENROLMENT_TOKEN", help="One-time token of the marketplace."
)
@click.option("--name", help="Name of the node; by default its hostname.")
@_address_options
@_state_option
@_simulate_option
@_unisolated_option
@_whole_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def join(
    url: str,
    token: str,
    name: str | None,
    gateways: tuple[str, ...],
    apis: tuple[str, ...],
    state: Path,
    simulate: Path | None,
    allow_unisolated: bool,
    save_whole: str,
    as_json: bool,
) -> None:
    """Enrol this machine with the marketplace at URL."""
    for each in (url, *apis):
        _check_address(each, of="marketplace")
    named_gateways = [_gateway_url(each) for each in gateways]
    folder = _open_state(state)
    if (folder.path / "node.json").exists():
        joined = folder.load_membership()
        raise AgentError(
            f"{folder.path} is node {joined.name} of {joined.api_url} already. "
            "Use another --state folder for a second node.",
            EXIT_CONFLICT,
        )
    key = _key(folder, create=True)
    spec = _simulation(simulate)
    choice = _runtime(allow_unisolated, folder.path, simulated=spec is not None, save_whole=save_whole)
    sensors = Sensors(folder.path, choice.as_facts(), spec, key.public_base64, choice.transparent)
    body = {
        "token": token,
        "public_key": key.public_base64,
        "signature": key.prove_join(token),
        "name": name or (spec.name if spec else None),
        "facts": sensors.facts().model_dump(mode="json"),
    }
    answer = _post_join(url.rstrip("/"), body)
    membership = Membership(
        node_id=answer["node_id"],
        name=answer["name"],
        api_url=url.rstrip("/"),
        gateway_urls=answer["gateway_urls"],
        api_urls=answer.get("api_urls", []),
        named_gateway_urls=named_gateways,
        named_api_urls=list(apis),
        simulate=str(simulate.resolve()) if simulate else None,
    )
    folder.save_membership(membership)
    if as_json:
        click.echo(
            json.dumps({"node_id": membership.node_id, "name": membership.name, "state": str(folder.path)})
        )
        return
    devices = ", ".join(device.model for device in sensors.facts().devices) or "no GPU found"
    click.echo(f"Joined as {membership.name} ({membership.node_id}): {devices}")
    click.echo(f"Now run: gp4u agent run{'' if state == DEFAULT_STATE_DIR else f' --state {state}'}")


@agent.command()
@_address_options
@_state_option
@_simulate_option
@_unisolated_option
@_whole_option
@click.option(
    "--url",
    help="Reach the marketplace at this address and at no other than those named here (for example a proxy).",
)
def run(
    gateways: tuple[str, ...],
    apis: tuple[str, ...],
    state: Path,
    simulate: Path | None,
    allow_unisolated: bool,
    save_whole: str,
    url: str | None,
) -> None:
    """Connect and run jobs until interrupted. Jobs go on while the agent restarts."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    folder = _open_state(state)
    try:
        membership = folder.load_membership()
    except NotJoined as error:
        raise AgentError(str(error), EXIT_NOT_FOUND) from error
    key = _key(folder, create=False)
    spec = _simulation(simulate or (Path(membership.simulate) if membership.simulate else None))
    choice = _runtime(allow_unisolated, folder.path, simulated=spec is not None, save_whole=save_whole)
    for each in apis:
        _check_address(each, of="marketplace")
    named = [_gateway_url(each) for each in gateways]
    if url:
        _check_address(url, of="marketplace")
        gateway_addresses = Addresses([*named, _socket_url(url)], pinned=True)
        api_addresses = Addresses([url, *apis], pinned=True)
    else:
        named += membership.named_gateway_urls
        told = membership.gateway_urls or ([] if named else [_socket_url(membership.api_url)])
        gateway_addresses = Addresses(named, told)
        api_addresses = Addresses(
            [membership.api_url, *membership.named_api_urls, *apis], membership.api_urls
        )
    sensors = Sensors(folder.path, choice.as_facts(), spec, key.public_base64, choice.transparent)
    worker = Agent(
        folder,
        key,
        membership,
        sensors,
        choice.name,
        containers=choice.containers,
        gateways=gateway_addresses,
        apis=api_addresses,
    )
    click.echo(f"{membership.name}: connecting to {', '.join(gateway_addresses.urls)}", err=True)
    try:
        asyncio.run(_until_signalled(worker))
    except SessionRefused as error:
        advice = WHAT_TO_DO.get(error.code, "")
        raise AgentError(f"{error.detail} ({error.code}) {advice}".strip(), EXIT_REFUSED) from error
    except AlreadyRunning as error:
        raise AgentError(str(error), EXIT_CONFLICT) from error


@agent.command()
@_state_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def status(state: Path, as_json: bool) -> None:
    """Show this node and the jobs on it, without asking the marketplace."""
    folder = StateDir(state.expanduser())
    try:
        membership = folder.load_membership()
    except NotJoined as error:
        raise AgentError(str(error), EXIT_NOT_FOUND) from error
    placements = []
    for path in sorted(folder.placements.iterdir()) if folder.placements.is_dir() else []:
        placement = PlacementDir(path)
        document = placement.read(placement.placement)
        if document is not None:
            placements.append(
                {
                    "placement_id": document["spec"]["placement_id"],
                    "epoch": document["spec"]["epoch"],
                    "job": document["spec"]["job_name"],
                    "alive": placement.shim_alive(),
                }
            )
    document = {
        "node_id": membership.node_id,
        "name": membership.name,
        "marketplace": membership.api_url,
        "gateways": [*membership.named_gateway_urls, *membership.gateway_urls],
        "running": _agent_runs(folder),
        "placements": placements,
    }
    if as_json:
        click.echo(json.dumps(document))
        return
    click.echo(f"{membership.name} ({membership.node_id}) of {membership.api_url}")
    click.echo(f"agent: {'running' if document['running'] else 'not running'}")
    for entry in placements:
        click.echo(f"job {entry['job']}  epoch {entry['epoch']}  {'alive' if entry['alive'] else 'ended'}")


@agent.command()
@_simulate_option
@_unisolated_option
@_whole_option
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def facts(simulate: Path | None, allow_unisolated: bool, save_whole: str, as_json: bool) -> None:
    """Show what this machine would tell the marketplace, and what its probes proved."""
    choice = choose_runtime(allow_unisolated=allow_unisolated, save_whole=save_whole)
    found = Sensors(
        Path.home(), choice.as_facts(), _simulation(simulate), "facts", choice.transparent
    ).facts()
    if as_json:
        document = found.model_dump(mode="json")
        document["probes"] = {
            name: {
                "works": probe.works,
                "proven": probe.proven,
                "why_not": probe.why_not,
                "weaker": probe.weaker,
            }
            for name, probe in choice.probes.items()
        }
        click.echo(json.dumps(document))
        return
    click.echo(f"{found.hostname}: {found.os}, kernel {found.kernel}")
    click.echo(
        f"{found.cpus} × {found.cpu_model}, {found.memory_mb} MiB memory, {found.disk_free_mb} MiB disk free"
    )
    for device in found.devices:
        click.echo(f"GPU {device.model}, {device.vram_mb} MiB{' (simulated)' if device.simulated else ''}")
    for name, probe in choice.probes.items():
        click.echo(f"runtime {name}: {probe.proven if probe.works else 'no: ' + probe.why_not}")
        for weakness in probe.weaker:
            click.echo(f"  weaker: {weakness}")


def _open_state(path: Path) -> StateDir:
    folder = StateDir(path.expanduser().absolute())
    try:
        folder.create()
    except OSError as error:
        raise AgentError(f"{folder.path} cannot be used: {error.strerror}", EXIT_FAILED) from error
    return folder


def _key(folder: StateDir, *, create: bool) -> NodeKey:
    try:
        return folder.load_or_create_key() if create else folder.load_key()
    except NotJoined as error:
        raise AgentError(str(error), EXIT_NOT_FOUND) from error
    except KeyUnreadable as error:
        raise AgentError(f"{error} {WHAT_TO_DO['wrong_key']}", EXIT_FAILED) from error


def _simulation(path: Path | None) -> SimulationSpec | None:
    if path is None:
        return None
    try:
        return simulated.load(path)
    except simulated.BadSimulationSpec as error:
        raise AgentError(str(error), EXIT_USAGE) from error


def _runtime(allow_unisolated: bool, folder: Path, *, simulated: bool, save_whole: str) -> RuntimeChoice:
    choice = choose_runtime(
        allow_unisolated=allow_unisolated,
        folder=folder if folder.is_dir() else None,
        real_gpus=not simulated,
        save_whole=save_whole,
    )
    if choice.warning:
        click.secho(f"Warning: {choice.warning}", fg="yellow", err=True)
    return choice


def _post_join(url: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        response = httpx2.post(f"{url}/api/v1/agent/join", json=body, timeout=JOIN_TIMEOUT_S)
    except (httpx2.HTTPError, OSError) as error:
        raise AgentError(f"{url} cannot be reached: {error}", EXIT_UNREACHABLE) from error
    try:
        document = response.json()
    except ValueError:
        document = None
    if response.status_code == 201 and isinstance(document, dict) and "node_id" in document:
        return document
    if not isinstance(document, dict) or "code" not in document:
        raise AgentError(
            f"{url} does not look like a marketplace (HTTP {response.status_code}).", EXIT_NOT_FOUND
        )
    advice = WHAT_TO_DO.get(document["code"], "")
    refused = response.status_code in (401, 403)
    exit_code = EXIT_REFUSED if refused else EXIT_CONFLICT if response.status_code == 409 else EXIT_FAILED
    raise AgentError(f"{document.get('detail', document['code'])} {advice}".strip(), exit_code)


def _check_address(url: str, *, of: str) -> None:
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise AgentError(f"{url!r} is no address of a {of}: use http://… or https://…", EXIT_USAGE)


def _gateway_url(url: str) -> str:
    """A gateway as a person names it: whole, or only its host and port as an http or WebSocket address."""
    parts = urlsplit(url)
    if parts.scheme in ("ws", "wss") and parts.netloc:
        return url if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}{AGENT_SOCKET_PATH}"
    _check_address(url, of="gateway")
    return _socket_url(url)


def _socket_url(url: str) -> str:
    parts = urlsplit(url)
    return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}{AGENT_SOCKET_PATH}"


async def _until_signalled(worker: Agent) -> None:
    task = asyncio.ensure_future(worker.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        click.echo(
            "The agent stopped. Its jobs go on until their lease is over, and are taken up at the next start.",
            err=True,
        )


def _agent_runs(folder: StateDir) -> bool:
    try:
        with open(folder.path / "agent.lock") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
