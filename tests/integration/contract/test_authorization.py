"""Every operation of the API as everybody: nobody reads or changes what is another's, and nothing breaks."""

import json
from collections.abc import Mapping

import httpx2
from gp4u_server.nodes.tokens import AgentTokens

from tests.integration.contract.town import CANARY, Operation, Town, operations

# What each kind of caller gets. 2: some success; otherwise the exact status.
# "renter" owns the job, "owner" the node it runs on; stranger and other_owner own nothing here.
WHO = ("nobody", "stranger", "other_owner", "admin", "agent", "owner", "renter")
OPEN = dict.fromkeys(WHO, 2)
SIGNED_IN = OPEN | {"nobody": 401, "agent": 401}
OWNERS = SIGNED_IN | {"stranger": 403, "renter": 403, "admin": 403}
OF_OWNER = OWNERS | {"other_owner": 404}
OF_RENTER = SIGNED_IN | {"stranger": 404, "other_owner": 404, "owner": 404}
ONLY_RENTER = OF_RENTER | {"admin": 404}
OF_BOTH = OF_RENTER | {"owner": 2}
AGENTS = dict.fromkeys(WHO, 401) | {"agent": 2}
ADMINS = SIGNED_IN | dict.fromkeys(("stranger", "other_owner", "owner", "renter"), 403)
NO_DEMO = SIGNED_IN | dict.fromkeys(("stranger", "other_owner", "admin", "owner", "renter"), 404)
COOKIES = dict.fromkeys(WHO, 401)  # without a browser's session nobody gets anywhere

TABLE: dict[str, Mapping[str, int]] = {
    "read_health": OPEN,
    "read_readiness": OPEN,
    "read_platform": OPEN,
    "search_offers": OPEN,
    "read_offer": OPEN,
    "list_gpu_models": OPEN,
    "register": OPEN,
    "sign_in": COOKIES,  # the example's password is wrong
    "create_token": COOKIES,
    "refresh_token": COOKIES,
    "refresh_session": COOKIES | dict.fromkeys(WHO, 403),  # no page of ours
    "revoke_token": OPEN,
    "sign_out": OPEN | {"agent": 401},
    "read_session": SIGNED_IN,
    "list_api_keys": SIGNED_IN,
    "create_api_key": SIGNED_IN,
    "revoke_api_key": ONLY_RENTER,
    "list_sessions": SIGNED_IN,
    "end_session": ONLY_RENTER,
    "submit_job": SIGNED_IN,
    "promise_job": OPEN,
    "create_booking": SIGNED_IN,
    "list_bookings": SIGNED_IN,
    "list_jobs": SIGNED_IN,
    "read_booking": OF_BOTH,
    "read_receipt": OF_BOTH,
    "read_job": OF_RENTER,
    "stop_job": OF_RENTER,
    "list_job_events": OF_RENTER,
    "read_job_log": OF_RENTER,
    "stream_job": OF_RENTER,
    "list_decisions": OF_RENTER,
    "list_checkpoints": OF_RENTER,
    "read_checkpoint": OF_RENTER,
    "pin_checkpoint": ONLY_RENTER,
    "unpin_checkpoint": ONLY_RENTER,
    "download_checkpoint": ONLY_RENTER,  # its answer holds the key of the data
    "create_upload": SIGNED_IN,
    "read_wallet": SIGNED_IN,
    "list_wallet_entries": SIGNED_IN,
    "top_up": SIGNED_IN,
    "read_earnings": SIGNED_IN,
    "read_overview": ADMINS,
    "read_failovers": ADMINS,
    "read_books_verification": ADMINS,
    "verify_books": ADMINS,
    "list_users": ADMINS,
    "list_all_nodes": ADMINS,
    "create_enrolment_token": OWNERS,
    "list_nodes": OWNERS,
    "read_node": OF_OWNER,
    "remove_node": OF_OWNER,
    "drain_node": OF_OWNER | {"admin": 2},
    "undrain_node": OF_OWNER | {"admin": 2},
    "plan_maintenance": OF_OWNER | {"admin": 2},
    "cancel_maintenance": OF_OWNER | {"admin": 2},
    "join_pool": OF_OWNER | {"admin": 2},
    "leave_pool": OF_OWNER | {"admin": 2},
    "read_node_telemetry": OF_OWNER | {"admin": 2},
    "list_node_events": OF_OWNER | {"admin": 2},
    "read_score": OPEN,
    "list_score_changes": OF_OWNER | {"admin": 2},
    "list_incidents": OF_OWNER | {"admin": 2},
    "list_all_incidents": ADMINS,
    "read_case": ADMINS,
    "rule_on_incident": ADMINS,
    "undo_ruling": ADMINS,
    "list_drain_holds": ADMINS,
    "decide_drain_hold": ADMINS,
    "list_my_offers": OWNERS,
    "list_offer": OF_OWNER,
    "change_offer": OF_OWNER,
    "join": dict.fromkeys(WHO, 401),  # by its one-time token, and the example's is none
    "list_demo_nodes": NO_DEMO,
    "kill_node": NO_DEMO,
    "revive_node": NO_DEMO,
    "set_link": NO_DEMO,
    "fault_device": NO_DEMO,
    "repair_node": NO_DEMO,
    "open_upload": AGENTS,
    "announce_packs": AGENTS,
    "sign_manifest": AGENTS,
    "commit_checkpoint": AGENTS,
    "list_restore_points": AGENTS,
    "download_restore_point": AGENTS,
    "report_damage": AGENTS,
    "read_upload": AGENTS,
    "download_for_standby": AGENTS,
}
# The state of things forbids it to the entitled here; that they are let through is what counts.
LET_THROUGH = {
    ("list_offer", "owner"): 409,  # its node has an offer
    ("plan_maintenance", "owner"): 422,  # the admin has planned it just before
    ("remove_node", "owner"): 409,  # a job runs on it
    ("commit_checkpoint", "agent"): 409,  # the example's manifest was never stored
    ("announce_packs", "agent"): 2,
    ("read_upload", "agent"): 404,  # no live placement of the node needs it
    ("create_booking", "nobody"): 401,
    ("revoke_api_key", "renter"): 2,
    ("end_session", "renter"): 2,
}
POOR = {
    ("submit_job", 402),
    ("create_booking", 402),
    ("create_booking", 409),
}  # only renter has money and GPUs go
LAST = ["stop_job", "revoke_api_key", "end_session", "sign_out"]
ANSWERS_ONLY_ONCE = {"register"}  # the address is taken after the first


def in_order() -> list[Operation]:
    known = operations()
    return sorted(
        known.values(), key=lambda operation: LAST.index(operation.id) if operation.id in LAST else -1
    )


def essence(answer: httpx2.Response, own_id: str) -> tuple[object, ...]:
    """What a caller can tell an answer from another by."""
    document = json.loads(answer.text.replace(own_id, "ID"))
    document.pop("request_id", None)
    changing = {
        "x-request-id",
        "date",
        "content-length",
        "ratelimit",
        "ratelimit-policy",
        "ratelimit-remaining",
    }
    headers = {name: value for name, value in answer.headers.items() if name not in changing}
    headers = {
        name: value for name, value in headers.items() if not name.startswith(("ratelimit", "x-ratelimit"))
    }
    return answer.status_code, document, headers


def test_every_operation_has_a_row() -> None:
    assert set(TABLE) == set(operations())


async def test_every_operation_as_everybody(town: Town) -> None:
    wrong, leaks = [], []
    for who in WHO:
        for operation in in_order():
            if operation.id == "stream_job":
                ids = {"job_id": town.ended_job_id}  # a stream of a live job has no end
            elif operation.id == "sign_out" and who in ("owner", "renter", "admin"):
                continue  # has its own test; it would end the session that the others use
            else:
                ids = {}
            answer = await town.call(operation, who, **ids)
            expected = LET_THROUGH.get((operation.id, who), TABLE[operation.id][who])
            got = answer.status_code
            allowed = got == expected or (expected == 2 and 200 <= got < 300)
            if expected == 2 and (operation.id, got) in POOR and who != "renter":
                allowed = True
            if operation.id in ANSWERS_ONLY_ONCE and got == 409:
                allowed = True
            if not allowed or got >= 500:
                wrong.append(f"{who} {operation.id}: {got}, not {expected}: {answer.text[:160]}")
            if who not in ("renter", "admin") and CANARY in answer.text:
                leaks.append(f"{who} {operation.id}: {answer.text[:300]}")
    assert (wrong, leaks) == ([], [])


async def test_anothers_object_is_answered_like_a_missing_one(town: Town) -> None:
    """Same status, same document, same headers; only the id that the caller sent differs."""
    told = []
    checked = 0
    for operation in in_order():
        names = [p["name"] for p in operation.parameters if p["in"] == "path" and p["name"] != "name"]
        for who in ("stranger", "other_owner"):
            if not names or TABLE[operation.id][who] != 404:
                continue
            theirs = await town.call(operation, who)
            prefix = town.ids[names[0]].rpartition("_")[0]
            missing = f"{prefix}_{'0' * 26}"
            nothing = await town.call(operation, who, **{names[0]: missing})
            one, other = essence(theirs, town.ids[names[0]]), essence(nothing, missing)
            if one != other:
                told.append(f"{who} {operation.id}: {one} and {other}")
            checked += 1
    assert told == []
    assert checked >= 15


async def test_an_offer_for_anothers_node_is_refused_like_one_for_a_missing_node(town: Town) -> None:
    listing = operations()["list_offer"]
    body = town.examples()["list_offer"]
    theirs = await town.call(listing, "other_owner", body)
    nothing = await town.call(listing, "other_owner", {**body, "node_id": "node_none"})
    assert theirs.status_code == 404
    assert essence(theirs, town.ids["node_id"]) == essence(nothing, "node_none")


async def test_a_key_that_may_only_read_writes_nothing(town: Town) -> None:
    before = await town.rows()
    for operation in in_order():
        answer = await town.call(operation, "reader") if operation.is_write else None
        if answer is None or TABLE[operation.id]["renter"] not in (2, 404):
            continue
        if operation.id in {"register", "revoke_token", "promise_job"}:
            continue  # these ask nobody who they are
        expected = {401} if TABLE[operation.id] is AGENTS else {403}
        assert answer.status_code in expected, (operation.id, answer.status_code, answer.text)
    after = await town.rows()
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"users", "sessions", "refresh_tokens", "api_keys"}, changed  # registered; last used


async def test_an_agent_of_another_node_is_fenced_out(town: Town) -> None:
    """A node's token opens that node's placements only."""
    other = await town.market.node()
    minted = town.market.platform.get(AgentTokens).mint(other["node_id"])
    town.people["other_agent"] = {"Authorization": f"Bearer {minted}"}
    before = await town.rows()
    for operation in in_order():
        if TABLE[operation.id] is AGENTS:
            answer = await town.call(operation, "other_agent")
            assert answer.status_code in (404, 409), (operation.id, answer.status_code, answer.text)
    assert await town.rows() == before
