"""Cursors come back from clients: whatever is in them, a listing answers a page or says that the cursor is no good."""

import base64
import json

from tests.integration.contract.town import Town, operations

OWNERS = {"list_nodes", "list_my_offers", "list_node_events", "list_score_changes", "list_incidents"}


def cursor_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


CURSORS = [
    "",
    "%",
    "é",
    "=" * 50,
    "A" * 60_000,
    *(
        cursor_of(raw)
        for raw in (
            b"", b"null", b"{}", b"[]", b"[1]", b"[true]", b"[1.5]", b"[null]", b'["x"]', b'["x","y"]', b"[[1]]",
            b'["price","1","x"]', b'["price","NaN","x"]', b'["-price","1e400","x"]', b'["listed_at","now","x"]',
            b'["\\u0000"]', b'["\\ud800"]', b'["price","1","\\ud800"]', b'["price","1","\\u0000"]', b"\xff\xfe",
            b"[-1]", b"[9223372036854775808]", b"[" + b"9" * 400 + b"]", b"[" + b"9" * 5000 + b"]", b"[NaN]",
            b"[" * 20_000, json.dumps(["' OR 1=1 --"]).encode(), json.dumps(["💥" * 300]).encode(),
        )
    ),
]  # fmt: skip


async def test_no_cursor_breaks_a_listing(town: Town) -> None:
    """Every listing of the OpenAPI document that is paged, as somebody who may read it."""
    wrong, asked = [], 0
    for operation in operations().values():
        if not any(parameter["name"] == "cursor" for parameter in operation.parameters):
            continue
        who = "owner" if operation.id in OWNERS else "admin" if "/admin/" in operation.path else "renter"
        for cursor in CURSORS:
            answer = await town.http.get(
                town.path(operation), params={"cursor": cursor}, headers=town.people[who]
            )
            asked += 1
            if answer.status_code not in (200, 422) or (answer.status_code == 200 and cursor == "%"):
                wrong.append(f"{operation.id} {cursor[:40]!r}: {answer.status_code} {answer.text[:120]}")
    assert wrong == []
    assert asked >= 8 * len(CURSORS)
