"""Images by digest: the same bytes on every node a job is moved to, whatever a tag says that day."""

import json
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gp4u_agent.runtime.containers.engine import PULL_TIMEOUT_S, EngineUnavailable, connect

if TYPE_CHECKING:
    from docker import APIClient

BY_DIGEST = re.compile(r"^(?:[a-z0-9][a-zA-Z0-9._:/-]{0,254}@)?sha256:[0-9a-f]{64}$")


class ImageUnavailable(Exception):
    """The image is not here and could not be brought; the message says why, for the renter."""


def ensure(image: str, on_progress: Callable[[float], None] = lambda fraction: None) -> None:
    """Have the image here, pulling it where it is not. `on_progress` hears fractions of what is known to come.

    No credentials are used or stored: what an anonymous pull cannot get is refused. Blocks. Raises ImageUnavailable.
    """
    if not BY_DIGEST.fullmatch(image):
        raise ImageUnavailable(f"{image!r} names no digest: use name@sha256:…")
    try:
        client, _ = connect(timeout_s=PULL_TIMEOUT_S)
    except EngineUnavailable as error:
        raise ImageUnavailable(str(error)) from error
    import docker  # noqa: PLC0415
    import requests  # noqa: PLC0415

    try:
        if inspect(client, image) is not None:
            return
        repository, _, digest = image.rpartition("@")
        if not repository:
            raise ImageUnavailable(
                f"the image {image} is not on this node, and a bare digest cannot be pulled"
            )
        refusal = _pulled(client.pull(repository, tag=digest, stream=True, decode=False), on_progress)
        if refusal is not None:
            raise ImageUnavailable(f"the image {image} could not be pulled: {refusal}")
        if inspect(client, image) is None:
            raise ImageUnavailable(f"the image {image} is not there after it was pulled")
    except (docker.errors.APIError, requests.RequestException, OSError) as error:
        raise ImageUnavailable(f"the image {image} could not be pulled: {error}") from error
    finally:
        client.close()


def inspect(client: "APIClient", image: str) -> dict[str, Any] | None:
    """What the engine knows of an image; None when it is not here."""
    import docker  # noqa: PLC0415

    try:
        found: dict[str, Any] = client.inspect_image(image)
    except docker.errors.NotFound:
        return None
    return found


def _pulled(lines: Iterable[bytes], on_progress: Callable[[float], None]) -> str | None:
    """Follow a pull; the error that ended it, if one did."""
    progress = PullProgress()
    rest = b""
    for piece in lines:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if not line.strip():
                continue
            event = json.loads(line)
            if error := event.get("error"):
                return str(error)
            before = progress.fraction
            progress.hear(event)
            if progress.fraction != before:
                on_progress(progress.fraction)
    return None


class PullProgress:
    """How far a pull is, from the engine's events: bytes of all layers whose size is known so far."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def hear(self, event: dict[str, Any]) -> None:
        """One event of the engine's stream."""
        layer = event.get("id")
        detail = event.get("progressDetail") or {}
        if not layer:
            return
        if event.get("status") == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif event.get("status") in ("Download complete", "Pull complete") and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)

    @property
    def fraction(self) -> float:
        """0 to 1; it may fall when another layer's size becomes known."""
        total = sum(size for _, size in self._layers.values())
        return sum(done for done, _ in self._layers.values()) / total if total else 0.0
