"""Hello → Challenge → Proof → Welcome: who dials in, and whether we serve them."""

import base64
import binascii
import secrets
from contextlib import ExitStack
from dataclasses import dataclass

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from gp4u_protocol.messages import (
    PROTOCOL_VERSION,
    AgentMessage,
    Challenge,
    Hello,
    Proof,
    Rejected,
    StandbySpec,
    challenge_bytes,
    decode_from_agent,
)
from pydantic import ValidationError
from starlette.websockets import WebSocket

from gp4u_server.catalyst.health.service import Connected, Unheard
from gp4u_server.gateway.hub import Hub
from gp4u_server.kit.errors import DomainError
from gp4u_server.nodes.arrivals import Arrival
from gp4u_server.nodes.types import NodeStatus

log = structlog.get_logger(__name__)

NONCE_BYTES = 32


class Refusal(Exception):
    """The connection ends with `message`."""

    def __init__(self, code: str, detail: str, *, retry: bool) -> None:
        super().__init__(detail)
        self.message = Rejected(code=code, detail=detail, retry=retry)


@dataclass(frozen=True)
class Proven:
    """An agent that proved its key, and its session as just written."""

    node_id: str
    connected: Connected
    resumed: bool = False
    """The same agent as before lost its link to us."""
    standbys: list[StandbySpec] | None = None


async def next_message(websocket: WebSocket) -> AgentMessage:
    """The next frame, decoded. Raises Refusal for anything that is no message; WebSocketDisconnect at the end."""
    frame = await websocket.receive_text()
    try:
        return decode_from_agent(frame)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise Refusal("malformed_message", f"{first['msg']} at {first['loc']}", retry=True) from error


async def shake_hands(websocket: WebSocket, hub: Hub, until_attached: ExitStack, until: float) -> Proven:
    """Prove the peer and open its session in the database. Raises Refusal.

    `until`: when the caller gives up, on the loop's clock.
    `until_attached`: to be closed when somebody holds the session: what is wanted of the node may change until then.
    """
    hello = await next_message(websocket)
    if not isinstance(hello, Hello):
        raise Refusal("unexpected_message", "The first message must be hello.", retry=True)
    if hello.protocol_version != PROTOCOL_VERSION:
        raise Refusal(
            "protocol_version",
            f"This gateway speaks version {PROTOCOL_VERSION}; the agent speaks {hello.protocol_version}. Update it.",
            retry=False,
        )
    identity = await hub.opener.identity(hello.node_id)
    nonce = secrets.token_urlsafe(NONCE_BYTES)
    await websocket.send_text(Challenge(nonce=nonce).model_dump_json())
    proof = await next_message(websocket)
    if not isinstance(proof, Proof):
        raise Refusal("unexpected_message", "The challenge must be answered with a proof.", retry=True)
    # Asked even of unknown nodes, so that nobody learns which ids exist.
    if identity is None or not _signed(identity.public_key, hello.node_id, nonce, proof.signature):
        raise Refusal(
            "wrong_key",
            "There is no such node, or this is not its key. Join again with a fresh token.",
            retry=False,
        )
    if identity.status is NodeStatus.REMOVED:
        raise Refusal(
            "node_removed", "The owner removed this node. Join again with a fresh token.", retry=False
        )
    if not hub.ready:
        raise Refusal("not_ready", "The gateway is starting or cut off; try again.", retry=True)
    gateway_id = hub.gateway_id
    until_attached.enter_context(hub.shaking_hands(hello.node_id))
    unheard = None
    if hub.table.session_no(hello.node_id) is not None:
        silent_s = hub.table.silent_s(hello.node_id, hub.clock.monotonic_s())
        unheard = Unheard(silent_s, hub.was_cut_off(silent_s))
    arrival = Arrival(hello.node_id, hello.facts, hello.life)
    try:
        opened = await hub.opener.open(arrival, gateway_id=gateway_id, unheard=unheard, until=until)
    except DomainError as error:
        raise Refusal(error.code, error.detail, retry=False) from error
    if hub.gateway_id != gateway_id:
        raise Refusal("not_ready", "The gateway begins anew; try again.", retry=True)
    # While we could renew nothing we had sent it away: that says nothing of its link.
    resumed = hello.resumed and not (unheard is not None and unheard.cut_off)
    return Proven(hello.node_id, opened.connected, resumed, opened.standbys)


def _signed(public_key: bytes, node_id: str, nonce: str, signature: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            base64.b64decode(signature, validate=True), challenge_bytes(node_id, nonce)
        )
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
