"""An agent that knows several gateways and api addresses: it learns them, keeps them, and moves on when one is gone."""

import random
from pathlib import Path

import pytest
from gp4u_agent.addresses import Addresses
from gp4u_agent.checkpoint.http import HttpFailure
from gp4u_agent.http import AgentHttp, StaleEpoch
from gp4u_agent.identity import StateDir
from gp4u_protocol.messages import ActualState

from tests.integration.agent.conftest import AgentProcess, node_of
from tests.integration.agent.peer import Peer, serve


async def test_a_dead_gateway_is_left_for_another_and_the_job_notices_nothing(
    peer: Peer, node_folder: Path, joined: AgentProcess
) -> None:
    async with serve(
        Peer(peer.name, public_key=joined.peer.public_key, desired=peer.desired, epochs=peer.epochs)
    ) as other:
        # One marketplace: what one gateway accepted the other one knows.
        other.claimed, other.reports, other.seen = peer.claimed, peer.reports, peer.seen
        peer.gateways = other.gateways = [peer.gateway_url, other.gateway_url]
        peer.apis = [peer.url, other.url]
        async with node_of(peer, node_folder, joined) as node:
            await peer.want(peer.spec("sleep 600"))
            await peer.until(lambda: peer.report(peer.first, ActualState.RUNNING), "the job runs")
            shim = node.shim_pid()
            kept = StateDir(node.state).load_membership()
            assert {*kept.gateway_urls} == {peer.gateway_url, other.gateway_url}
            assert {*kept.api_urls} == {other.url}, "where it joined is known anyway"

            beats = peer.last_beat_at
            await peer.cut()
            await other.until(lambda: other.last_beat_at, "the agent is with the other gateway")
            assert peer.last_beat_at < other.last_beat_at
            assert peer.sessions == 1
            await other.until(
                lambda: any(s.epoch == 1 for s in other.statuses.values()), "it tells of its job there"
            )
            assert beats
            # And back, when that one goes: the first one's failure is not held against it for ever.
            peer.closed = False
            await other.cut()
            await peer.until(lambda: peer.sessions == 2, "the agent is with the first gateway again")
            assert node.shim_pid() == shim
            assert peer.states(peer.first).count(ActualState.RUNNING) == 1


async def test_a_call_that_fails_at_one_api_address_is_tried_at_the_next() -> None:
    async with serve(Peer()) as living:
        async with serve(Peer()) as dying:
            urls = [dying.url, living.url]
            seed = next(n for n in range(50) if Addresses(urls, chance=random.Random(n)).urls == urls)
            http = AgentHttp(Addresses(urls, chance=random.Random(seed)))
            http.token = "node-token"
            dying.uploads["folder"] = living.uploads["folder"] = b"content"
            assert (await http.get_json("/api/v1/agent/uploads/folder"))["size_bytes"] == 7
            assert http.base_url == dying.url
            stale = {"placement_id": "pl_1", "epoch": 1}
            with pytest.raises(StaleEpoch):  # an answer, and no reason to go elsewhere
                await http.post_json("/api/v1/agent/checkpoints/open", stale)
            assert http.base_url == dying.url
        try:
            with pytest.raises(HttpFailure) as failed:
                await http.get_json("/api/v1/agent/uploads/folder")
            assert failed.value.is_transient
            assert (await http.get_json("/api/v1/agent/uploads/folder"))["size_bytes"] == 7
            assert http.base_url == living.url
            assert await http.get_range("/store/folder", 0, 3) == b"con"
        finally:
            await http.close()
