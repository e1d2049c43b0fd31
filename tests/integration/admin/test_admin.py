"""The admins' rooms: what they count is what is there, nobody else gets in, and pages end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from gp4u_server.accounts.roles import grant_role
from gp4u_server.accounts.types import Role
from gp4u_server.admin import repository
from gp4u_server.foundation.platform import Platform
from gp4u_server.kit.db import Database
from gp4u_server.kit.ids import earliest_id, new_id
from sqlalchemy import text

from tests.integration.api.conftest import bearer, tokens_of
from tests.integration.market_world import World, facts

API = "/api/v1/admin"
READS = ("/overview", "/failovers", "/ledger/verification", "/users", "/nodes")


async def admin_of(client: httpx2.AsyncClient, platform: Platform) -> dict[str, str]:
    """Headers of somebody with the role admin."""
    await tokens_of(client, "root@example.com")
    async with platform.get(Database).transaction() as session:
        await grant_role(session, email="root@example.com", role=Role.ADMIN)
    signed_in = await client.post(
        "/api/v1/auth/token", json={"email": "root@example.com", "password": "correct horse battery"}
    )
    return bearer(signed_in.json()["access_token"])


async def read(client: httpx2.AsyncClient, path: str, headers: dict[str, str]) -> dict[str, Any]:
    answer = await client.get(f"{API}{path}", headers=headers)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def job(
    database: Database, state: str, *, at: datetime | None = None, recoveries: tuple[dict[str, int], ...] = ()
) -> str:
    """A job in that state as the database has it, with one ended placement for each recovery."""
    job_id = earliest_id("job", at)[:-6] + new_id("x")[-6:] if at else new_id("job")
    async with database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO jobs (id, renter_id, name, spec, state, data_key, ended_at)"
                " VALUES (:id, 'user_x', 'digits', '{}', :state, '', CASE WHEN :final THEN now() END)"
            ),
            {"id": job_id, "state": state, "final": state in ("done", "failed", "stopped")},
        )
        for epoch, recovery in enumerate(recoveries, start=2):
            await session.execute(
                text(
                    "INSERT INTO placements (id, job_id, epoch, state, outcome, node_id, node_name, region, simulated,"
                    " gpu_model, device_uuids, offer_id, booking_id, rate_per_hour_micros, running_at, ended_at,"
                    " recovery) VALUES (:id, :job, :epoch, 'ended', 'done', 'node_x', 'atlas', 'eu', true, 'L40S',"
                    " '{}', 'off_x', 'bkg_x', 1, now(), now(), CAST(:recovery AS jsonb))"
                ),
                {
                    # Those of one millisecond would have no order.
                    "id": earliest_id("plc", datetime.now(UTC) + timedelta(milliseconds=10 * epoch)),
                    "job": job_id,
                    "epoch": epoch,
                    "recovery": str(recovery).replace("'", '"'),
                },
            )
    return job_id


@pytest.mark.parametrize("path", READS)
async def test_only_admins_get_in(client: httpx2.AsyncClient, platform: Platform, path: str) -> None:
    assert (await client.get(API + path)).status_code == 401
    for role in ("renter", "owner"):
        headers = bearer((await tokens_of(client, f"{role}@example.com", role))["access_token"])
        refused = await client.get(API + path, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "role_required")
    await read(client, path, await admin_of(client, platform))


async def test_the_books_are_not_verified_for_others(client: httpx2.AsyncClient) -> None:
    headers = bearer((await tokens_of(client, "renter@example.com"))["access_token"])
    assert (await client.post(f"{API}/ledger/verification", headers=headers)).status_code == 403


async def test_the_overview_counts_what_is_there(client: httpx2.AsyncClient, platform: Platform) -> None:
    headers = await admin_of(client, platform)
    database = platform.get(Database)
    world = World(database)
    owner = await world.person("Otto")
    await world.enrol(owner, facts(gpus=2, hostname="up"))
    await world.enrol(owner, facts(hostname="away"), online=False)
    for state in ("running", "running", "queued", "done", "failed"):
        await job(database, state)
    await job(database, "done", at=datetime.now(UTC) - timedelta(days=2))

    drained = await world.enrol(owner, facts(hostname="drained"))
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE nodes SET duty = 'maintenance', duty_since = now() WHERE id = :id"),
            {"id": drained.node_id},
        )

    overview = await read(client, "/overview", headers)
    assert overview["nodes"] == {"online": 1, "offline": 1, "maintenance": 1}
    assert (overview["gpus_in_use"], overview["gpus_total"]) == (0, 4)
    assert overview["jobs_open"] == {"running": 2, "queued": 1}
    assert overview["jobs_ended_24h"] == {"done": 1, "failed": 1}
    assert "test" in [process["name"] for process in overview["processes"]]
    assert overview["backlog"]["tasks_given_up_24h"] == 0


async def test_failovers_show_their_measured_phases(client: httpx2.AsyncClient, platform: Platform) -> None:
    headers = await admin_of(client, platform)
    empty = await read(client, "/failovers", headers)
    assert (empty["measured"], empty["phases"], empty["newest"]) == (0, {}, [])
    started = {"detect_ms": 5_000, "decide_ms": 100}  # its job does not run yet: not a measured failover
    done = [
        {"detect_ms": 5_000 + n, "decide_ms": n, "restore_ms": 9, "start_ms": 8, "recovery_ms": 6_000 + n}
        for n in range(3)
    ]
    job_id = await job(platform.get(Database), "done", recoveries=(*done, started))
    found = await read(client, "/failovers?newest=2", headers)
    assert found["measured"] == 3
    assert found["phases"]["recovery_ms"] == {"p50": 6_001, "p99": 6_002, "max": 6_002}
    assert [item["recovery_ms"]["recovery_ms"] for item in found["newest"]] == [6_002, 6_001]
    assert {item["job_id"] for item in found["newest"]} == {job_id}


async def test_people_and_nodes_are_paged(client: httpx2.AsyncClient, platform: Platform) -> None:
    headers = await admin_of(client, platform)
    world = World(platform.get(Database))
    owner = await world.person("Otto")
    enrolled = [(await world.enrol(owner)).node_id for _ in range(3)]
    async with platform.get(Database).transaction() as session:
        await world.nodes.remove(session, owner, enrolled[0])

    for path, size in (("/users", 2), ("/nodes", 2)):
        first = await read(client, f"{path}?limit=1", headers)
        rest = await read(client, f"{path}?limit=1&cursor={first['next_cursor']}", headers)
        assert rest["next_cursor"] is None
        ids = [item["id"] for item in first["items"] + rest["items"]]
        assert len(set(ids)) == size
        assert ids == sorted(ids, reverse=True)

    listed = (await read(client, "/nodes", headers))["items"]
    assert [node["id"] for node in listed] == [enrolled[2], enrolled[1]]
    assert listed[0]["owner_email"] == f"{owner}@example.org"
    assert (listed[0]["liveness"], listed[0]["state"]) == ("online", "online")
    assert (listed[0]["gpus"], listed[0]["gpu_models"]) == (1, ["RTX_4090"])
    [person] = (await read(client, "/users?email=ROOT@example.com", headers))["items"]
    assert person["roles"] == ["renter", "admin"]
    assert (await read(client, "/users?email=nobody@example.com", headers))["items"] == []
    damaged = await client.get(f"{API}/users?cursor=@@@", headers=headers)
    assert (damaged.status_code, damaged.json()["code"]) == (422, "invalid_cursor")


async def test_the_books_are_verified_and_the_outcome_is_remembered(
    client: httpx2.AsyncClient, platform: Platform
) -> None:
    headers = await admin_of(client, platform)
    assert (await read(client, "/ledger/verification", headers))["last"] is None
    paid = await client.post("/api/v1/wallet/top-ups", json={"amount_micros": 5_000_000}, headers=headers)
    assert paid.status_code == 201
    outcome = (await client.post(f"{API}/ledger/verification", headers=headers)).json()
    assert (outcome["ok"], outcome["transfers"], outcome["problems"]) == (True, 1, [])
    assert (await read(client, "/ledger/verification", headers))["last"] == outcome

    async with platform.get(Database).transaction() as session:
        # The database itself refuses this; somebody who owns it can still do it.
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        await session.execute(text("UPDATE ledger_accounts SET balance_micros = balance_micros + 1"))
    broken = (await client.post(f"{API}/ledger/verification", headers=headers)).json()
    assert broken["ok"] is False
    assert broken["problems_count"] == len(broken["problems"]) > 0
    assert "account_equals_entries" in {problem["check"] for problem in broken["problems"]}


async def test_the_books_are_read_by_one_at_a_time(client: httpx2.AsyncClient, platform: Platform) -> None:
    headers = await admin_of(client, platform)
    async with platform.get(Database).transaction() as session:
        assert await repository.reserve_books(session)
        second = await client.post(f"{API}/ledger/verification", headers=headers)
        assert (second.status_code, second.json()["code"]) == (409, "verification_running")
    assert (await client.post(f"{API}/ledger/verification", headers=headers)).status_code == 200
