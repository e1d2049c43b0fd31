"""What each listing costs: as many statements for many rows as for few, and an index for each of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from gp4u_server.kit.db import Database
from sqlalchemy import event, text

from tests.checks.scale import scaled
from tests.integration.contract.town import Operation, Town, build_town, operations
from tests.integration.routing.conftest import Marketplace

# Listings of a job, of a node and so on are asked for the town's own; these are asked by whom they are for.
BY_OWNER = {
    "list_nodes",
    "list_my_offers",
    "read_earnings",
    "read_node",
    "read_node_telemetry",
    "list_node_events",
    "list_score_changes",
    "list_incidents",
}
NO_LISTINGS = {"stream_job", "read_upload"}  # one has no end, the other is for agents
ROWS = scaled(3_000)  # of each kind, of others; measured with 10,000 as well
# Filters and later pages go by indexes of their own.
QUERIES = {
    "list_bookings": ("state=held", "job_id=job_none", "cursor=WyJia2dfeiJd"),
    "list_jobs": ("state=running", "cursor=WyJqb2JfeiJd"),
    "search_offers": ("q=gpu_model%3DRTX_4090", "sort=reliability"),
    "list_wallet_entries": ("cursor=WzFd",),
}


def listings() -> list[Operation]:
    """Every GET of the API that reads rows for people."""
    return [
        found
        for found in operations().values()
        if not found.is_write
        and found.path.startswith("/api/v1/")
        and not found.path.startswith(("/api/v1/agent/", "/api/v1/demo", "/api/v1/admin"))
        and found.id not in NO_LISTINGS
    ]


@contextmanager
def statements_of(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to the database inside the block."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", note)


async def cost_of(town: Town, operation: Operation, query: str = "") -> list[tuple[str, Any]]:
    who = "owner" if operation.id in BY_OWNER else "renter"
    with statements_of(town.database) as seen:
        answer = await town.http.get(f"{town.path(operation)}?{query}", headers=town.people[who])
    assert answer.status_code == 200, (operation.id, answer.text)
    return seen


async def test_no_listing_asks_more_often_for_more_rows(town: Town) -> None:
    few = {operation.id: len(await cost_of(town, operation)) for operation in listings()}
    market, renter = town.market, town.people["renter"]
    for number in range(4):
        await market.offer(gpus=2)
        await market.submit(name=f"more{number}")
        await market.ok("POST", "/wallet/top-ups", renter, json={"amount_micros": 1_000_000 + number})
        await market.ok("POST", "/api-keys", renter, json={"name": f"k{number}", "scopes": ["read"]})
        body = {"email": "renter@example.org", "password": "correct horse battery"}
        await market.ok("POST", "/auth/token", json=body)
    for operation in listings():
        asked = await cost_of(town, operation)
        texts = [statement for statement, _ in asked]
        assert len(asked) == few[operation.id], (operation.id, few[operation.id], texts)
        assert len(asked) <= 12, (operation.id, texts)


# What a copy of a row must have of its own. {n} is the copy's number; the copies are other people's.
OTHERS: dict[str, dict[str, str]] = {
    "users": {"id": "usr_x{n}", "email": "x@{n}"},
    "sessions": {"id": "ses_x{n}", "user_id": "usr_x{n}"},
    "api_keys": {"id": "key_x{n}", "user_id": "usr_x{n}", "key_hash": "\\x{n:8}"},
    "nodes": {"id": "node_x{n}", "owner_id": "usr_x{n}", "name": "box-x{n}", "public_key": "\\x{n:64}"},
    "devices": {"id": "dev_x{n}", "node_id": "node_x{n}", "uuid": "GPU-x{n}"},
    "offers": {"id": "offer_x{n}", "node_id": "node_x{n}", "owner_id": "usr_x{n}"},
    "jobs": {"id": "job_x{n}", "renter_id": "usr_x{n}"},
    "placements": {"id": "plc_x{n}", "job_id": "job_x{n}", "node_id": "node_x{n}", "booking_id": "bkg_x{n}"},
    "incidents": {"id": "inc_x{n}", "node_id": "node_x{n}", "placement_id": "plc_x{n}"},
    "incident_runs": {"placement_id": "plc_x{n}", "incident_id": "inc_x{n}"},
    "score_changes": {"id": "chg_x{n}", "node_id": "node_x{n}", "incident_id": "inc_x{n}"},
    "node_scores": {"node_id": "node_x{n}"},
    "job_events": {"id": "{n:8}", "job_id": "job_x{n}"},
    "routing_decisions": {"id": "dec_x{n}", "job_id": "job_x{n}"},
    "bookings": {"id": "bkg_x{n}", "renter_id": "usr_x{n}", "owner_id": "usr_x{n}", "job_id": "job_x{n}"},
    "booking_devices": {"booking_id": "bkg_x{n}", "device_id": "dev_x{n}"},
    "meters": {
        "booking_id": "bkg_x{n}",
        "renter_id": "usr_x{n}",
        "owner_id": "usr_x{n}",
        "job_id": "job_x{n}",
    },
    "usage_intervals": {"booking_id": "bkg_x{n}", "job_id": "job_x{n}"},
    "checkpoints": {"id": "ckp_x{n}", "job_id": "job_x{n}"},
    "ledger_accounts": {"name": "wallet:usr_x{n}"},
    "ledger_transfers": {"id": "trf_x{n}", "key": "x{n}"},
    "ledger_entries": {"account": "wallet:usr_x{n}", "transfer_id": "trf_x{n}"},
    "top_ups": {"id": "top_x{n}", "user_id": "usr_x{n}", "idempotency_key": "x{n}"},
}
# Search shows all that can be booked and counts its facets, so it reads its partial index or the table, by choice.
MAY_READ_ALL = {("search_offers", "offers")}


async def crowd(database: Database) -> None:
    """Thousands of everything that belong to thousands of others, past every check of the database."""
    async with database.transaction() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        for table, changes in OTHERS.items():
            members = []
            for column, value in changes.items():
                before, _, behind = value.partition("{n")
                width = behind.strip(":}")
                number = f"lpad(n::text, {width}, '0')" if width else "n::text"
                members.append(f"'{column}', '{before}' || {number}")
            done = await session.execute(
                text(
                    f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(r, jsonb_build_object({', '.join(members)}))).*"
                    f" FROM (SELECT * FROM {table} LIMIT 1) r, generate_series(10000001, {10_000_000 + ROWS}) n".replace(
                        "jsonb_populate_record(r,", f"jsonb_populate_record(r::{table},"
                    )
                )
            )
            assert done.rowcount == ROWS, table
    async with database.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        for table in OTHERS:
            await connection.execute(text(f"ANALYZE {table}"))


async def test_every_listing_follows_an_index_among_thousands_of_rows(
    marketplace: Marketplace, client: httpx2.AsyncClient
) -> None:
    """Its books are not checked: they were filled by hand."""
    town = await build_town(marketplace, client)
    asked = {}
    for operation in listings():
        for query in ("", *QUERIES.get(operation.id, ())):
            asked[f"{operation.id}?{query}"] = (operation.id, await cost_of(town, operation, query))
    await crowd(town.database)
    scans, explained = [], 0
    async with town.database.engine.connect() as connection:
        for name, (operation_id, statements) in asked.items():
            for statement, parameters in statements:
                if not statement.lstrip().upper().startswith(("SELECT", "WITH")):
                    continue
                plan = await connection.exec_driver_sql(f"EXPLAIN {statement}", parameters)
                lines = [row[0] for row in plan]
                explained += 1
                scans += [
                    f"{name}: {line.strip()}: {statement[:300]}"
                    for line in lines
                    for table in OTHERS
                    if f"Seq Scan on {table} " in line and (operation_id, table) not in MAY_READ_ALL
                ]
    assert scans == []
    assert explained > 40
