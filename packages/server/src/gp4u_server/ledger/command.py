"""`gp4u admin ledger …`: the auditor for people. Mounted under `gp4u admin` by the server's command."""

import asyncio
import json
from dataclasses import asdict
from typing import Any

import click
from sqlalchemy import text

from gp4u_server.kit.db import connect
from gp4u_server.ledger.verify import verify as verify_stored

# The audit reads on one snapshot-per-statement connection; a second one would only be idle.
POOL_SIZE = 1


@click.group()
def ledger() -> None:
    """Look after the books."""


@ledger.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--database-url", envvar="DATABASE_URL", required=True, help="Which database [env: DATABASE_URL]."
)
def verify(as_json: bool, database_url: str) -> None:
    """Recompute every balance, chain and invariant. Exit code 1 when something does not add up."""
    found = asyncio.run(audit(database_url))
    problems: list[dict[str, str]] = found["problems"]
    if as_json:
        click.echo(json.dumps(found))
    else:
        for problem in problems:
            click.echo(f"{problem['row']}: {problem['detail']} ({problem['check']})")
        verdict = "everything adds up" if found["ok"] else f"{len(problems)} problems"
        click.echo(
            f"{found['transfers']} transfers, {found['entries']} entries, {found['accounts']} accounts: {verdict}"
        )
    raise SystemExit(0 if found["ok"] else 1)


async def audit(database_url: str) -> dict[str, Any]:
    """Counts and problems of the ledger in a database."""
    database = connect(database_url, pool_size=POOL_SIZE, application_name="gp4u ledger verify")
    try:
        async with database.transaction() as session:
            problems = await verify_stored(session)
            counts = (
                await session.execute(
                    text(
                        "SELECT (SELECT count(*) FROM ledger_transfers), (SELECT count(*) FROM ledger_entries), "
                        "(SELECT count(*) FROM ledger_accounts)"
                    )
                )
            ).one()
    finally:
        await database.close()
    return {
        "ok": not problems,
        "transfers": counts[0],
        "entries": counts[1],
        "accounts": counts[2],
        "problems": [asdict(problem) for problem in problems],
    }
