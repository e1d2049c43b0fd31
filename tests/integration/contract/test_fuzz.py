"""Whatever is sent to whichever operation, the answer is a document and never a failure of ours."""

import random
from typing import Any

import httpx2

from tests.integration.contract.generated import NASTY, RAW, encoded, sensible, spoilt
from tests.integration.contract.town import Operation, Town, operations

SEED = 20_261
SPOILT_BODIES = 40
SENSIBLE_BODIES = 12
# Each of these hashes a password: fewer, for time.
SLOW = {"register", "sign_in", "create_token"}


def who_for(operation: Operation) -> str:
    if "/agent/" in operation.path:
        return "agent"
    return "both" if "offer" in operation.id or "enrolment" in operation.id else "renter"


async def send(town: Town, operation: Operation, who: str, **request: Any) -> httpx2.Response:
    town.http.cookies.clear()
    headers = {**town.people[who], "Content-Type": "application/json", **request.pop("headers", {})}
    path = request.pop("path", None) or town.path(operation)
    params = request.pop("params", town.query(operation))
    return await town.http.request(operation.method, path, params=params, headers=headers, **request)


def complaint(operation: Operation, answer: httpx2.Response, sent: object) -> str | None:
    """What is wrong with an answer to nonsense."""
    told = f"{operation.id}: {answer.status_code} {answer.text[:200]} for {str(sent)[:300]!r}"
    if answer.status_code >= 500:
        return told
    if answer.status_code >= 400 and (
        answer.headers.get("content-type") != "application/problem+json" or not answer.json().get("detail")
    ):
        return f"no document: {told}"
    return None


async def test_no_body_makes_it_fail(town: Town) -> None:
    rng = random.Random(SEED)
    examples, complaints, sent = town.examples(), [], 0
    with_bodies = [operation for operation in operations().values() if operation.body is not None]
    assert {operation.id for operation in with_bodies} == set(examples)
    for operation in with_bodies:
        assert operation.body is not None
        some = 8 if operation.id in SLOW else 1
        bodies = [encoded(spoilt(examples[operation.id], rng)) for _ in range(SPOILT_BODIES // some)]
        bodies += [encoded(sensible(operation.body, rng)) for _ in range(SENSIBLE_BODIES // some)]
        for body in bodies + RAW:
            answer = await send(town, operation, who_for(operation), content=body)
            sent += 1
            if found := complaint(operation, answer, body):
                complaints.append(found)
    assert complaints == []
    assert sent > 900


async def test_no_parameter_makes_it_fail(town: Town) -> None:
    rng = random.Random(SEED + 1)
    complaints = []
    texts = [str(value) for value in NASTY if not isinstance(value, list | dict) and len(str(value)) < 6000]
    texts = [value for value in texts if value.isprintable() or value == "\0"] + [
        "gpus>=",
        'q="',
        "price<=1e999",
    ]
    for operation in operations().values():
        if operation.id in SLOW | {"stream_job", "sign_out"}:
            continue
        named = [(p["in"], p["name"]) for p in operation.parameters if p["name"] != "authorization"]
        for place, name in named:
            for value in [*rng.sample(texts, 6), "\0", "a\0b"]:
                request: dict[str, Any] = {}
                if place == "path":
                    quoted = "".join(f"%{byte:02X}" for byte in value.encode()) or "x"
                    request["path"] = town.path(operation, **{name: quoted})
                elif place == "query":
                    request["params"] = {**town.query(operation), name: value}
                elif value.isascii() and "\0" not in value:
                    request["headers"] = {name: value}
                if operation.body is not None:
                    request["json"] = town.examples()[operation.id]
                answer = await send(town, operation, who_for(operation), **request)
                if found := complaint(operation, answer, (place, name, value)):
                    complaints.append(found)
    assert complaints == []


async def test_no_credential_makes_it_fail(town: Town) -> None:
    tokens = ["x", "gp4u_" + "a" * 40, "a.b.c", "ey" + "A" * 3000, "é", "\x7f", " ", "Bearer x"]
    for operation in operations().values():
        if operation.body is not None or operation.id == "stream_job":
            continue
        for token in tokens:
            answer = await town.http.request(
                operation.method,
                town.path(operation),
                params=town.query(operation),
                headers={"Authorization": f"Bearer {token}".encode()},
            )
            assert answer.status_code < 500, (operation.id, token, answer.text)
            if operation.spec.get("security"):
                assert answer.status_code == 401, (operation.id, token, answer.text)
