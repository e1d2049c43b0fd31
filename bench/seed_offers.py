"""Fills a marketplace's database with synthetic nodes and offers, to search and book at scale."""

import random
import secrets

import psycopg
from gp4u_server.kit.ids import new_id
from gp4u_server.market import catalogue
from psycopg import sql
from psycopg.types.json import Jsonb

REGIONS = ("eu-west", "eu-north", "us-east", "us-west", "ap-south", "ap-east")


def seed_offers(database_url: str, count: int, *, prefix: str = "synthetic", seed: int = 7) -> list[str]:
    """Insert `count` online nodes of one to eight GPUs with an offer each. Returns the offers' ids."""
    chance = random.Random(seed)
    models = list(catalogue.load().models.values())
    nodes, devices, offers = [], [], []
    with psycopg.connect(database_url) as connection:
        owner_id, owner_name = connection.execute(
            "SELECT id, name FROM users WHERE email = 'owner@gp4u.demo'"
        ).fetchone() or (None, None)
        assert owner_id, "the demo accounts are missing: start with --demo"
        for number in range(count):
            model = chance.choice(models)
            gpus = chance.choice((1, 1, 1, 2, 4, 8))
            node_id, name = new_id("nod"), f"{prefix}-{seed}-{number}-{secrets.token_hex(3)}"
            price = chance.randrange(100_000, 4_000_000, 1000)
            reliability = round(chance.uniform(0.9, 0.9999), 4)
            now = "now"
            nodes.append(
                {
                    "id": node_id,
                    "owner_id": owner_id,
                    "name": name,
                    "region": chance.choice(REGIONS),
                    "status": "verified",
                    "public_key": secrets.token_bytes(32),
                    "simulated": True,
                    "facts": Jsonb({"runtimes": {"sandbox": "bubblewrap"}}),
                    "cpus": 16,
                    "memory_mb": 131_072,
                    "disk_mb": 1_000_000,
                    "liveness": "online",
                    "enrolled_at": now,
                    "last_seen_at": now,
                    "online_since": now,
                }
            )
            for position in range(gpus):
                devices.append(
                    {
                        "id": new_id("dev"),
                        "node_id": node_id,
                        "uuid": f"GPU-{secrets.token_hex(16)}",
                        "model": model.model,
                        "vram_mb": model.vram_gb * 1024,
                        "simulated": True,
                        "position": position,
                    }
                )
            offers.append(
                {
                    "id": new_id("off"),
                    "node_id": node_id,
                    "node_name": name,
                    "owner_id": owner_id,
                    "owner_name": owner_name,
                    "gpu_model": model.model,
                    "gpu_name": model.name,
                    "vram_gb": model.vram_gb,
                    "gpus_total": gpus,
                    "gpus_free": gpus,
                    "price_per_gpu_hour_micros": price,
                    "duration_s_min": 60,
                    "duration_s_max": 604_800,
                    "region": nodes[-1]["region"],
                    "cpus": 16,
                    "memory_gb": 128,
                    "disk_gb": 900,
                    "runtimes": ["sandbox"],
                    "reliability": reliability,
                    "hazard_per_hour": 0.001,
                    "fp16_tflops": model.fp16_tflops,
                    "fp32_tflops": model.fp32_tflops,
                    "memory_bandwidth_gb_s": model.memory_bandwidth_gb_s,
                    "perf_per_dollar": model.fp16_tflops / price * 1_000_000,
                    "simulated": True,
                    "node_ready": True,
                    "state": "listed",
                    "listed_at": now,
                    "refreshed_at": now,
                }
            )
        for table, rows in (("nodes", nodes), ("devices", devices), ("offers", offers)):
            columns = list(rows[0])
            statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
            )
            with connection.cursor().copy(statement) as copy:
                for row in rows:
                    copy.write_row(
                        [
                            f"{{{','.join(v)}}}" if isinstance(v, list) else v
                            for v in (row[c] for c in columns)
                        ]
                    )
        connection.execute("ANALYZE")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE offers")
    return [str(offer["id"]) for offer in offers]
