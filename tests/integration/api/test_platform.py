"""The application as a whole: readiness, and one person coming and going."""

import inspect

import httpx2
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from gp4u_server.accounts.service import Accounts
from gp4u_server.api.routers import AGENT_ROUTERS, ROUTERS, STORE_ROUTERS
from gp4u_server.foundation.platform import Platform


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


def test_bootstrap_provides_whatever_an_endpoint_asks_for(platform: Platform) -> None:
    asked: set[type] = set()

    def look_into(dependant: Dependant) -> None:
        for dependency in dependant.dependencies:
            if getattr(dependency.call, "__qualname__", "") == "provided.<locals>.from_app":
                assert inspect.isfunction(dependency.call)
                asked.add(inspect.getclosurevars(dependency.call).nonlocals["service_type"])
            look_into(dependency)

    for router in (*ROUTERS, *AGENT_ROUTERS, *STORE_ROUTERS):
        for route in router.routes:
            assert isinstance(route, APIRoute)
            look_into(route.dependant)
    assert Accounts in asked
    assert asked - set(platform.provided) == set()
