"""The auditor: recomputes the stored ledger on its own, sharing no code with the writer.

It reads the format of docs/design/ledger.md afresh, so a mistake in the writer is not repeated here.
"""

import hashlib
import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from gp4u_server.ledger.invariants import INVARIANTS
from gp4u_server.ledger.types import Problem

_ENTRIES = """
    SELECT e.*, t.key AS transfer_key, t.inputs_hash, t.created_at AS transfer_at,
           (extract(epoch FROM e.created_at) * 1000000)::bigint AS created_us
    FROM ledger_entries e JOIN ledger_transfers t ON t.id = e.transfer_id
    ORDER BY e.account COLLATE "C", e.currency COLLATE "C", e.version
"""
_TRANSFERS = """
    SELECT t.id, t.kind, t.description, t.refs, t.inputs_hash, e.leg, e.account, e.currency, e.amount_micros
    FROM ledger_transfers t JOIN ledger_entries e ON e.transfer_id = t.id ORDER BY t.id, e.leg
"""


async def verify(session: AsyncSession) -> list[Problem]:
    """Every problem in the stored ledger, each naming its row. Streams; memory does not grow with the ledger."""
    problems = []
    for check, sql in INVARIANTS.items():
        for row in await session.execute(text(sql)):
            problems.append(Problem(check, row.row, row.detail))
    connection = await session.connection()
    async with connection.stream(text(_ENTRIES)) as entries:
        chain: tuple[str, str] | None = None
        previous = bytes(32)
        async for entry in entries:
            if (entry.account, entry.currency) != chain:
                chain, previous = (entry.account, entry.currency), bytes(32)
            problems.extend(_entry_problems(entry, previous))
            previous = bytes(entry.entry_hash)
    async with connection.stream(text(_TRANSFERS)) as legs:
        transfer: list[Any] = []
        async for leg in legs:
            if transfer and transfer[0].id != leg.id:
                problems.extend(_transfer_problems(transfer))
                transfer = []
            transfer.append(leg)
        problems.extend(_transfer_problems(transfer))
    return problems


def _entry_problems(entry: Any, previous: bytes) -> Iterator[Problem]:
    row = f"ledger_entries {entry.account} {entry.currency} {entry.version}"
    if bytes(entry.previous_hash) != previous:
        yield Problem("hash_chain", row, "previous_hash is not the hash of the entry before")
    if entry.created_at != entry.transfer_at:
        yield Problem("entry_instant", row, f"differs from that of transfer {entry.transfer_id}")
    fields = [
        entry.account,
        entry.currency,
        entry.version,
        entry.transfer_id,
        entry.transfer_key,
        bytes(entry.inputs_hash).hex(),
        entry.leg,
        entry.amount_micros,
        entry.balance_after_micros,
        entry.created_us,
        bytes(entry.previous_hash).hex(),
    ]
    if _sha256(fields) != bytes(entry.entry_hash):
        yield Problem("entry_hash", row, f"its fields or transfer {entry.transfer_id} were changed")


def _transfer_problems(legs: list[Any]) -> Iterator[Problem]:
    for transfer_id, rows in groupby(legs, key=lambda leg: leg.id):
        moved = list(rows)
        head = moved[0]
        row = f"ledger_transfers {transfer_id}"
        if [leg.leg for leg in moved] != list(range(len(moved))):
            yield Problem("transfer_legs", row, "its legs are not numbered 0, 1, 2, …")
        inputs = {
            "kind": head.kind,
            "description": head.description,
            "refs": head.refs,
            "legs": [[leg.account, leg.currency, leg.amount_micros] for leg in moved],
        }
        if _sha256(inputs) != bytes(head.inputs_hash):
            yield Problem("inputs_hash", row, "its kind, description, refs or legs were changed")


def _sha256(value: object) -> bytes:
    encoded = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(encoded.encode("utf-8")).digest()
