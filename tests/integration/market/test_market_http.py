"""The market over HTTP: what people type, and what they are told when it is wrong."""

import pytest


async def test_the_query_line_and_typed_filters_combine(marketplace):
    await marketplace.offer(model="RTX_4090", price=500_000)
    await marketplace.offer(model="RTX_4090", price=700_000)
    await marketplace.offer(model="RTX_3090", price=200_000)
    page = await marketplace.ok("GET", "/offers", params={"q": "vram_gb>=24 sort:-price"})
    assert [item["price_per_gpu_hour_micros"] for item in page["items"]] == [700_000, 500_000, 200_000]
    assert page["facets"]["gpu_model"] == [
        {"value": "RTX_4090", "count": 2},
        {"value": "RTX_3090", "count": 1},
    ]
    page = await marketplace.ok(
        "GET", "/offers", params={"q": "gpu_model=4090", "price_micros_max": 600_000, "simulated": True}
    )
    assert page["total"] == 1
    first = await marketplace.ok("GET", "/offers", params={"limit": 2})
    rest = await marketplace.ok("GET", "/offers", params={"limit": 2, "cursor": first["next_cursor"]})
    assert len(first["items"]) == 2
    assert len(rest["items"]) == 1
    assert rest["next_cursor"] is None
    assert await marketplace.ok("GET", f"/offers/{rest['items'][0]['id']}") == rest["items"][0]


@pytest.mark.parametrize(
    ("params", "code", "suggestion"),
    [
        ({"q": "gpu_modl=RTX_4090"}, "unknown_field", "gpu_model"),
        ({"q": "sort:prise"}, "unknown_field", "price"),
        ({"q": "gpu_model=RTX_4900"}, "bad_value", "RTX_4090"),
        ({"gpu_model": "RTX_4900"}, "bad_value", "RTX_4090"),
        ({"q": "price<=cheap"}, "bad_value", "price<=0.60"),
        ({"q": "region<eu"}, "bad_operator", None),
        ({"q": "a b c"}, "unknown_field", None),
        ({"region": "a\0"}, "query_invalid", None),
        ({"cursor": "x"}, "invalid_cursor", None),
    ],
)
async def test_what_cannot_be_read_is_422_with_a_code_and_a_suggestion(client, params, code, suggestion):
    answer = await client.get("/api/v1/offers", params=params)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == code
    assert answer.json().get("suggestion") == suggestion


@pytest.mark.parametrize(
    "terms",
    [
        {"price_per_gpu_hour_micros": 0},
        {"price_per_gpu_hour_micros": -1},
        {"price_per_gpu_hour_micros": 10**18},
        {"price_per_gpu_hour_micros": 0.5},
        {"price_per_gpu_hour_micros": 500_000, "interruptible_floor_micros": 600_000},
        {"price_per_gpu_hour_micros": 500_000, "duration_s_min": 7200, "duration_s_max": 3600},
        {"price_per_gpu_hour_micros": 500_000, "surprise": 1},
    ],
)
async def test_absurd_terms_are_422_and_list_nothing(marketplace, terms):
    node = await marketplace.node()
    answer = await marketplace.call(
        "POST", "/offers", marketplace.owner, json={"node_id": node["node_id"], **terms}
    )
    assert answer.status_code == 422, answer.text
    assert (await marketplace.ok("GET", "/offers"))["total"] == 0


async def test_an_owner_changes_pauses_and_withdraws(marketplace):
    offer = await marketplace.offer(price=500_000)
    path = f"/offers/{offer['id']}"
    again = await marketplace.call(
        "POST",
        "/offers",
        marketplace.owner,
        json={"node_id": offer["node_id"], "price_per_gpu_hour_micros": 1_000},
    )
    assert (again.status_code, again.json()["code"]) == (409, "offer_exists")
    changed = await marketplace.ok(
        "PATCH", path, marketplace.owner, json={"interruptible_floor_micros": 100_000}
    )
    assert changed["interruptible_floor_micros"] == 100_000
    assert changed["price_per_gpu_hour_micros"] == 500_000
    changed = await marketplace.ok(
        "PATCH", path, marketplace.owner, json={"interruptible_floor_micros": None, "state": "paused"}
    )
    assert (changed["interruptible_floor_micros"], changed["state"]) == (None, "paused")
    await marketplace.ok("PATCH", path, marketplace.owner, json={"state": "withdrawn"})
    mine = await marketplace.ok("GET", "/offers/mine", marketplace.owner)
    assert [item["state"] for item in mine["items"]] == ["withdrawn"]
    answer = await marketplace.call("PATCH", path, marketplace.owner, json={"state": "listed"})
    assert (answer.status_code, answer.json()["code"]) == (409, "offer_withdrawn")


async def test_a_renter_may_not_list(marketplace):
    node = await marketplace.node()
    answer = await marketplace.call(
        "POST",
        "/offers",
        marketplace.renter,
        json={"node_id": node["node_id"], "price_per_gpu_hour_micros": 1_000},
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "role_required")


async def test_an_owner_sees_and_removes_a_node(marketplace):
    node = await marketplace.node(name="rig")
    (mine,) = (await marketplace.ok("GET", "/nodes", marketplace.owner))["items"]
    assert (mine["id"], mine["name"], mine["liveness"], mine["status"]) == (
        node["node_id"],
        "rig",
        "online",
        "verified",
    )
    assert 0.98 < mine["reliability"] < 0.99
    assert node["gateway_urls"] == ["ws://127.0.0.1:8000/agent/v1/connect"]
    await marketplace.ok("DELETE", f"/nodes/{mine['id']}", marketplace.owner)
    answer = await marketplace.call("GET", f"/nodes/{mine['id']}", marketplace.owner)
    assert (answer.status_code, answer.json()["code"]) == (404, "node_not_found")


async def test_the_catalogue_is_public(client):
    models = (await client.get("/api/v1/gpu-models")).json()
    assert {"RTX_4090", "A100_80GB", "H100_SXM"} <= {model["model"] for model in models}
