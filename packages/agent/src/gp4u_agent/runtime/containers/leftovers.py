"""Ending a placement's container from outside: after its shim and its guard are gone."""

import contextlib
import time

from gp4u_agent.runtime import cgroups
from gp4u_agent.runtime.containers.engine import EngineUnavailable, connect

RETRY_S = 0.5


def container_name(placement: str) -> str:
    """Of a placement's container, and of its network."""
    return f"gp4u-{placement}"


def end_container(placement: str, *, within_s: float) -> bool:
    """Kill and remove the container and the network of a placement. True: there is neither now. Blocks."""
    deadline = time.monotonic() + within_s
    while True:
        cgroups.kill_below(placement)
        if _try_to_end(container_name(placement)):
            cgroups.remove_parents(placement)
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(RETRY_S)


def _try_to_end(name: str) -> bool:
    try:
        client, _ = connect()
    except EngineUnavailable:
        return False
    import docker  # noqa: PLC0415
    import requests  # noqa: PLC0415

    with contextlib.closing(client):
        try:
            with contextlib.suppress(docker.errors.NotFound):
                # A paused or frozen container cannot be killed by some engines.
                with contextlib.suppress(docker.errors.APIError):
                    client.unpause(name)
                client.remove_container(name, force=True, v=True)
            with contextlib.suppress(docker.errors.NotFound):
                client.remove_network(name)
        except (docker.errors.APIError, requests.RequestException, OSError):
            return False
    return True
