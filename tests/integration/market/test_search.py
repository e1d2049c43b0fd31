"""Search: every filter against plain Python over the same offers, every sort paged to its end."""

from itertools import product

import pytest
from gp4u_server.kit.paging import InvalidCursor, encode_cursor
from gp4u_server.market.query import SORTABLE, find_sort, parse

from tests.integration.market_world import World

MODELS = ("RTX_3090", "RTX_4090", "A100_80GB")
REGIONS = ("eu-west", "us-east")


@pytest.fixture
async def world(database) -> World:
    world = World(database)
    owner_id = await world.person()
    for number, (model, region) in enumerate(product(MODELS, REGIONS)):
        await world.offer(owner_id, model=model, region=region, price=300_000 + 100_000 * (number % 4))
    return world


async def search(world: World, line: str, **paging):
    async with world.database.transaction() as session:
        query = parse(line, world.market.catalogue)
        return await world.market.search(session, query, **paging)


@pytest.mark.parametrize(
    ("line", "holds"),
    [
        ("", lambda o: True),
        ("gpu_model=RTX_4090", lambda o: o["gpu_model"] == "RTX_4090"),
        ("gpu_model!=RTX_4090", lambda o: o["gpu_model"] != "RTX_4090"),
        (
            "gpu_model=4090,a100 region=US-East",
            lambda o: o["gpu_model"] != "RTX_3090" and o["region"] == "us-east",
        ),
        ("vram_gb>=24", lambda o: o["vram_gb"] >= 24),
        ("vram_gb>24", lambda o: o["vram_gb"] > 24),
        ("price<=0.50", lambda o: o["price_per_gpu_hour_micros"] <= 500_000),
        ("price<0.5 price>0.3", lambda o: 300_000 < o["price_per_gpu_hour_micros"] < 500_000),
        ("fp16_tflops>=77.97", lambda o: o["fp16_tflops"] >= 77.97),
        ("reliability>=0.5 reliability<1", lambda o: 0.5 <= o["reliability"] < 1),
        ("reliability>=0.9999", lambda o: o["reliability"] >= 0.9999),
        ("perf_per_dollar>=200", lambda o: o["perf_per_dollar"] >= 200),
        ("gpus>=1 memory_gb>=128 cpus=32 disk_gb>=500", lambda o: True),
        ("gpus>=2", lambda o: False),
        ("simulated=true", lambda o: o["simulated"]),
        ("simulated=false", lambda o: not o["simulated"]),
        ("owner=ada", lambda o: True),
        ("node=box1,box2", lambda o: o["node_name"] in ("box1", "box2")),
        ("floor<=1", lambda o: False),
        ("floor!=1", lambda o: True),
    ],
)
async def test_a_filter_finds_what_it_says_and_counts_it(world, line, holds):
    everything = (await search(world, "")).items
    assert len(everything) == 6
    found = await search(world, line)
    expected = [offer for offer in everything if holds(offer)]
    assert sorted(item["id"] for item in found.items) == sorted(offer["id"] for offer in expected)
    assert found.total == len(expected)
    for facet in ("gpu_model", "region", "vram_gb"):
        counts: dict[str, int] = {}
        for offer in expected:
            counts[str(offer[facet])] = counts.get(str(offer[facet]), 0) + 1
        assert dict(found.facets[facet]) == counts


async def test_every_sort_pages_through_all_offers_once_in_order(world):
    for name, limit in product([sign + name for name in SORTABLE for sign in ("", "-")], [1, 4, 6]):
        column = find_sort(name).field.column
        items, cursor = [], None
        while True:
            page = await search(world, f"sort:{name}", cursor=cursor, limit=limit)
            assert page.total == 6
            items += page.items
            cursor = page.next_cursor
            if cursor is None or len(items) > 6:
                break
            assert len(page.items) == limit
        assert len({item["id"] for item in items}) == len(items) == 6, (name, limit)
        keys = [(item[column], item["id"]) for item in items]
        assert keys == sorted(keys, reverse=name.startswith("-"))


@pytest.mark.parametrize(
    "cursor",
    [
        "rubbish",
        encode_cursor("price", "1"),
        encode_cursor("-price", "1", "x"),
        encode_cursor("price", "many", "x"),
        encode_cursor("price", str(1 << 63), "x"),
        encode_cursor("price", "1", "x\0"),
    ],
)
async def test_a_cursor_of_another_listing_is_refused(world, cursor):
    with pytest.raises(InvalidCursor):
        await search(world, "sort:price", cursor=cursor)
    with pytest.raises(InvalidCursor):
        await search(world, "sort:reliability", cursor=encode_cursor("reliability", "nan", "x"))


async def test_hostile_values_are_values(world):
    for line in ('node="\'; DROP TABLE offers; --"', 'owner="%"', 'region="\\\\"'):
        assert (await search(world, line)).total == 0
    assert (await search(world, "")).total == 6
