"""The application as a whole: readiness, and one person coming and going."""

import httpx2


async def test_readiness_names_every_part(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/readiness")
    assert answer.json() == {
        "ready": True,
        "parts": {"postgresql": "ok", "valkey": "ok", "object_store": "ok"},
    }


async def test_register_read_session_and_sign_out(client: httpx2.AsyncClient) -> None:
    body = {"email": "Ada@Example.com", "password": "correct horse battery", "name": "Ada"}
    registered = await client.post("/api/v1/auth/register", json=body)
    assert registered.status_code == 201, registered.text
    session = await client.get("/api/v1/auth/session")
    assert session.json() == registered.json()
    out = await client.post(
        "/api/v1/auth/sign-out",
        headers={"X-CSRF-Token": session.json()["csrf_token"], "Sec-Fetch-Site": "same-origin"},
    )
    assert out.status_code == 204, out.text
    assert (await client.get("/api/v1/auth/session")).status_code == 401
