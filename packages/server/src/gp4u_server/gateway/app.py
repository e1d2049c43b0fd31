"""The web side of a gateway: the agents' socket, readiness, metrics."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from gp4u_protocol.messages import AGENT_SOCKET_PATH
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from gp4u_server.gateway.connection import Connection
from gp4u_server.gateway.handshake import Proven, Refusal, shake_hands
from gp4u_server.gateway.hub import Hub
from gp4u_server.kit.ids import new_id

log = structlog.get_logger(__name__)

HANDSHAKE_S_MAX = 4.0
"""Below the 5 s after which an agent gives a handshake up and begins a session elsewhere (`HANDSHAKE_TIMEOUT_S` in
gp4u_agent.connection): a session written later than that would supersede the living one. docs/design/leases.md."""
STOP_S_MAX = 3.0
GOODBYE_CODE = 1000


def create_app(hub: Hub) -> Starlette:
    """The ASGI app; its lifespan runs the hub's loops."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        loops = asyncio.create_task(hub.run(), name="hub")
        loops.add_done_callback(_stop_without_hub)
        try:
            yield
        finally:
            loops.cancel()
            # Bounded, as a cancellation that meets a result can get lost on Python 3.11.
            await asyncio.wait({loops}, timeout=STOP_S_MAX)

    async def agents(websocket: WebSocket) -> None:
        await _serve_agent(hub, websocket)

    async def readiness(_: Request) -> Response:
        return JSONResponse({"ready": hub.ready}, status_code=200 if hub.ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(hub.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            WebSocketRoute(AGENT_SOCKET_PATH, agents),
            Route("/readiness", readiness),
            Route("/metrics", metrics),
        ],
        lifespan=lifespan,
    )


def _stop_without_hub(loops: asyncio.Task[None]) -> None:
    """A gateway whose loops died would take sockets and renew nothing: it ends, and the supervisor starts another."""
    if not loops.cancelled() and (error := loops.exception()) is not None:
        log.critical("hub_died", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


async def _serve_agent(hub: Hub, websocket: WebSocket) -> None:
    await websocket.accept()
    with contextlib.ExitStack() as until_attached:
        try:
            until = asyncio.get_running_loop().time() + HANDSHAKE_S_MAX
            async with asyncio.timeout_at(until):
                proven = await shake_hands(websocket, hub, until_attached, until)
        except Refusal as refusal:
            hub.metrics.refused.labels(code=refusal.message.code).inc()
            log.info("agent_refused", code=refusal.message.code, detail=refusal.message.detail)
            await _reject(websocket, refusal)
            return
        except TimeoutError:
            await _close(websocket, 1008, "the handshake took too long")
            return
        except WebSocketDisconnect:
            return
        except Exception:
            log.exception("handshake_failed")
            await _reject(
                websocket,
                Refusal("unavailable", "The gateway cannot serve you now; try again.", retry=True),
            )
            return
        try:
            connection = _attached(hub, websocket, proven)
        except Refusal as refusal:
            await _reject(websocket, refusal)
            return
    await _serve_session(hub, connection)


def _attached(hub: Hub, websocket: WebSocket, proven: Proven) -> Connection:
    """The session that was just written, in the hands of this gateway. Raises Refusal."""
    node_id, number = proven.node_id, proven.connected.session_no
    held = hub.table.session_no(node_id)
    if held is not None and held > number:
        # Two handshakes of one agent may overtake each other, and the newer one may have been given up: it dials again.
        raise Refusal("superseded", "A newer connection of this node is served.", retry=True)
    if not hub.poll.may_open(node_id, number):
        raise Refusal("unavailable", "The handshake took too long; try again.", retry=True)
    connection = Connection(hub, websocket, proven, new_id("ses"))
    connection.ttl_s = hub.table.opened(
        node_id,
        connection.session_id,
        number,
        proven.connected.leases,
        hub.clock.monotonic_s(),
        noted_s=proven.connected.ttl_s,
        resumed=proven.resumed,
    )
    hub.attach(connection)
    return connection


async def _serve_session(hub: Hub, connection: Connection) -> None:
    node_id, number, websocket = connection.node_id, connection.session_no, connection.websocket
    log.info("node_connected", node_id=node_id, session_no=number)
    polite = False
    try:
        await connection.serve()
    except WebSocketDisconnect as gone:
        polite = gone.code == GOODBYE_CODE
    except Refusal as refusal:
        hub.metrics.refused.labels(code=refusal.message.code).inc()
        await _reject(websocket, refusal)
    except Exception:
        log.exception("connection_failed", node_id=node_id)
    finally:
        hub.detach(connection)
    log.info("node_disconnected", node_id=node_id, polite=polite)
    if polite and hub.table.left(node_id, connection.session_id):
        await hub.say_goodbye(node_id, number)
    await _close(websocket, *connection.close_code)


async def _reject(websocket: WebSocket, refusal: Refusal) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await websocket.send_text(refusal.message.model_dump_json())
    await _close(websocket, 1008, refusal.message.code)


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    if WebSocketState.DISCONNECTED in (websocket.client_state, websocket.application_state):
        return
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await websocket.close(code, reason[:120])
