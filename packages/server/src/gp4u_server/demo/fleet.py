"""`python -m gp4u_server.demo.fleet --data DIR`: the demo's accounts and its six nodes, and the socket that rules them.

Started by the supervisor with --demo. It uses the marketplace as people do, through the HTTP API; only the accounts
are made directly, since operators and admins cannot register themselves.
"""

import argparse
import asyncio
import json
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gp4u.api import ApiClient, ApiError
from gp4u.config import Credentials

from gp4u_server.accounts.passwords import PasswordHasher
from gp4u_server.accounts.service import Accounts
from gp4u_server.accounts.tokens import TokenSigner
from gp4u_server.demo.agents import DemoAgent, JoinFailed, agent_environment
from gp4u_server.demo.fault_proxy import FaultProxy, Mode
from gp4u_server.demo.faults import KINDS, add_fault, clear_faults
from gp4u_server.demo.roster import (
    ACCOUNTS,
    PASSWORD,
    WALLET_LOW_MICROS,
    WALLET_MICROS,
    DemoNode,
    nodes,
)
from gp4u_server.kit.clock import SystemClock
from gp4u_server.kit.db import connect
from gp4u_server.settings import Settings

log = logging.getLogger("gp4u.demo")
JOINS_AT_ONCE = 2
TRIES_MAX = 60
TRY_AGAIN_S = 0.5


def address_for_agents(public_url: str) -> str:
    """The marketplace as the demo's agents call it. Their proxies know the way, so the name is only a name.

    HTTP clients leave out the brackets of an IPv6 address in what they ask a proxy for, and are refused.
    """
    parts = urlsplit(public_url)
    if parts.hostname is None or ":" not in parts.hostname:
        return public_url
    return urlunsplit(parts._replace(netloc=f"localhost:{parts.port or 80}"))


@dataclass
class Fleet:
    """Everything of the demo that is not the platform itself."""

    settings: Settings
    data: Path
    agents: dict[str, DemoAgent] = field(default_factory=dict)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _tokens: dict[str, str] = field(default_factory=dict)

    async def start(self) -> None:
        """Make accounts and wallets, enrol, list and start every node; sets `ready` when all can be rented."""
        await self._make_accounts()
        address = urlsplit(self.settings.public_url)
        lifeline = os.environ.get("GP4U_LIFELINE_FD")
        environment = agent_environment()
        for node in nodes(self.settings.demo_nodes):
            proxy = FaultProxy(address.hostname or "127.0.0.1", address.port or 80)
            await proxy.start()
            state = self.data / "fleet" / node.name
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.agents[node.name] = DemoAgent(
                node,
                state,
                self.data / "logs" / f"agent-{node.name}.log",
                address_for_agents(self.settings.public_url),
                proxy,
                int(lifeline) if lifeline else None,
                environment,
            )
        joining = asyncio.Semaphore(JOINS_AT_ONCE)
        await asyncio.gather(*(self._bring_up(agent, joining) for agent in self.agents.values()))
        await asyncio.gather(
            *(asyncio.to_thread(self._fill_wallet, a.email) for a in ACCOUNTS if a.has_wallet)
        )
        self.ready.set()
        log.info("all %d nodes can be rented", len(self.agents))

    async def stop(self) -> None:
        """Stop every agent. Their jobs end with the supervisor's lifeline."""
        await asyncio.gather(*(agent.stop() for agent in self.agents.values()))
        await asyncio.gather(*(agent.proxy.close() for agent in self.agents.values()))

    async def _make_accounts(self) -> None:
        database = connect(self.settings.database_url, pool_size=2, application_name="gp4u-demo")
        hasher = PasswordHasher()
        clock = SystemClock()
        accounts = Accounts(database, TokenSigner.load(self.settings.secrets_dir, clock), hasher, clock)
        try:
            for account in ACCOUNTS:
                await accounts.ensure_account(
                    email=account.email, password=PASSWORD, name=account.name, roles=account.roles
                )
        finally:
            await hasher.aclose()
            await database.close()

    async def _bring_up(self, agent: DemoAgent, joining: asyncio.Semaphore) -> None:
        async with joining:
            if agent.node_id is None:
                enrolment = await self._ask(agent.node.owner, "enrol", agent.node)
                await agent.join(enrolment["token"])
            agent.start()
        await self._ask(agent.node.owner, "list", agent.node, agent.node_id)
        for _ in range(TRIES_MAX):
            if agent.unknown:  # the data folder is older than the database: start this node's life anew
                agent.unknown = False
                agent.state.mkdir(mode=0o700, parents=True, exist_ok=True)
                agent._keeper = None
                await self._bring_up(agent, joining)
                return
            found = await self._ask(agent.node.owner, "look", agent.node, agent.node_id)
            if found["liveness"] == "online":
                return
            await asyncio.sleep(TRY_AGAIN_S)
        log.warning("%s is enrolled but not online", agent.node.name)

    async def _ask(self, email: str, what: str, *arguments: Any) -> Any:
        calls: dict[str, Callable[..., Any]] = {
            "enrol": self._enrol,
            "list": self._list,
            "look": self._look,
            "welcome": self._welcome,
            "undrain": self._undrain,
        }
        call = calls[what]
        for attempt in range(TRIES_MAX):
            try:
                return await asyncio.to_thread(call, email, *arguments)
            except ApiError as error:
                # The api may be starting again, or a node not yet verified, or the token of an hour ago have run out.
                if error.status == 401:
                    self._tokens.pop(email, None)
                if attempt == TRIES_MAX - 1:
                    raise
                log.info("%s for %s: %s; again", what, email, error.detail)
                await asyncio.sleep(TRY_AGAIN_S)
        raise AssertionError

    def _client(self, email: str) -> ApiClient:
        url = self.settings.public_url
        if email not in self._tokens:
            with ApiClient(Credentials(url=url)) as api:
                tokens = api.post("/auth/token", {"email": email, "password": PASSWORD})
            self._tokens[email] = tokens["access_token"]
        return ApiClient(Credentials(url=url, email=email, access_token=self._tokens[email]))

    def _enrol(self, email: str, node: DemoNode) -> Any:
        with self._client(email) as api:
            return api.post("/enrolment-tokens", {"region": node.region, "node_name": node.name})

    def _list(self, email: str, node: DemoNode, node_id: str) -> None:
        with self._client(email) as api:
            mine = list(api.pages("/offers/mine"))
            if any(offer["node_id"] == node_id and offer["state"] != "withdrawn" for offer in mine):
                return
            offer = {"node_id": node_id, "price_per_gpu_hour_micros": node.price_micros}
            if node.floor_micros is not None:
                offer["interruptible_floor_micros"] = node.floor_micros
            api.post("/offers", offer)

    def _look(self, email: str, node: DemoNode, node_id: str) -> Any:
        with self._client(email) as api:
            return api.get(f"/nodes/{node_id}")

    def _welcome(self, email: str, node_id: str) -> None:
        """End a quarantine, as an owner does who has found out why his node was lost so often."""
        with self._client(email) as api:
            if api.get(f"/nodes/{node_id}")["duty"] == "quarantined":
                api.post(f"/nodes/{node_id}/undrain")

    def _undrain(self, email: str, node_id: str) -> None:
        """Back into service, as an owner does after the repair."""
        with self._client(email) as api:
            api.post(f"/nodes/{node_id}/undrain")

    def _fill_wallet(self, email: str) -> None:
        try:
            with self._client(email) as api:
                if api.get("/wallet")["available_micros"] < WALLET_LOW_MICROS:
                    api.post("/wallet/top-ups", {"amount_micros": WALLET_MICROS})
        except ApiError as error:
            log.warning("the wallet of %s was not filled: %s", email, error.detail)

    # --- control --------------------------------------------------------------------------------------------

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request, one answer."""
        try:
            request = json.loads(await reader.readline())
            answer = await self._answer(request)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, KeyError, TypeError) as error:
            with suppress(OSError):
                writer.write(json.dumps({"code": "bad_request", "detail": str(error)}).encode() + b"\n")
        finally:
            writer.close()

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request["do"]
        if do == "ready":
            return {"ready": self.ready.is_set(), "result": None}
        if do == "list":
            return {"result": [self._describe(agent) for agent in self.agents.values()]}
        agent = self.agents.get(request["name"])
        if agent is None:
            names = ", ".join(self.agents)
            return {
                "code": "not_found",
                "detail": f"There is no demo node {request['name'][:63]!r}. There are: {names}.",
            }
        if do == "kill":
            await agent.kill(stay_dead=bool(request.get("stay_dead")))
        elif do == "revive":
            agent.revive()
            await self._ask(agent.node.owner, "welcome", agent.node_id)
        elif do == "fault":
            if request["kind"] not in KINDS:
                return {"code": "bad_fault", "detail": f"A fault is one of: {', '.join(KINDS)}."}
            if not 0 <= int(request["device"]) < agent.node.gpus:
                return {"code": "not_found", "detail": f"{agent.node.name} has {agent.node.gpus} GPUs."}
            code = request.get("code")
            add_fault(
                agent.state, request["kind"], device=int(request["device"]), code=int(code) if code else None
            )
        elif do == "repair":
            clear_faults(agent.state)
            await self._ask(agent.node.owner, "undrain", agent.node_id)
        elif do == "link":
            if request["mode"] not in list(Mode):
                return {"code": "bad_link_mode", "detail": f"A link is one of: {', '.join(Mode)}."}
            agent.proxy.link.set(
                Mode(request["mode"]),
                delay_ms=int(request.get("delay_ms") or 0),
                loss_percent=float(request.get("loss_percent") or 0),
            )
        return {"result": self._describe(agent)}

    def _describe(self, agent: DemoAgent) -> dict[str, Any]:
        return {
            "name": agent.node.name,
            "node_id": agent.node_id or "",
            "owner": agent.node.owner,
            "region": agent.node.region,
            "gpu_model": agent.node.gpu_model,
            "gpus": agent.node.gpus,
            "agent_running": agent.is_running,
            "link": agent.proxy.link.mode.value,
            "job_ids": agent.job_ids(),
            "killed_at": agent.killed_at.isoformat() if agent.killed_at else None,
        }


async def run(data: Path) -> None:
    """Serve until SIGTERM."""
    settings = Settings()
    assert settings.demo, "the demo fleet belongs to --demo"
    assert settings.demo_socket is not None
    fleet = Fleet(settings, data)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    settings.demo_socket.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(fleet.handle, str(settings.demo_socket))
    settings.demo_socket.chmod(0o600)
    starting = asyncio.create_task(fleet.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()  # a demo that cannot be set up is an error of the whole start
            await stop.wait()
        else:
            starting.cancel()
    finally:
        server.close()
        await fleet.stop()


def main() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    parser = argparse.ArgumentParser(prog="python -m gp4u_server.demo.fleet")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        asyncio.run(run(arguments.data))
    except (JoinFailed, ApiError) as error:
        raise SystemExit(f"The demo fleet could not be set up: {error}") from error


if __name__ == "__main__":
    main()
