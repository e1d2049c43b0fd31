"""Request bodies from JSON schemas: first sensible ones, then ones with something in them that nobody expects."""

import copy
import json
import random
from typing import Any

from tests.integration.contract.town import DOCUMENT

Json = Any

_PATTERNS = {"64": "0123456789abcdef" * 4, "32": "0123456789abcdef" * 2}

NASTY: list[Json] = [
    None, True, 0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**400, 0.1, -0.0, 1e308, float("inf"), float("nan"),
    "", " ", "0", "\0", "a\0b", "\ud800", "x\udfff", "\u202e", "💥" * 50, "a" * 5000, "a" * 70_000, "' OR 1=1 --",
    "%s%n{0}", "../../etc/passwd", "..", "/", "C:\\x", "\r\nX-Injected: 1", "<script>", "${jndi:x}", "1e400",
    "0000-00-00T00:00:00Z", "9999-12-31T23:59:59+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00",
    "2026-01-01T00:00:00", [], [None], [[]], ["a"] * 2000, {}, {"": ""}, {"\0": "\0"}, {"a": {"b": {"c": []}}},
    {"$ref": "#"}, {"__proto__": 1}, [{"id": "0" * 32, "size_bytes": 1}] * 3,
]  # fmt: skip

RAW: list[bytes] = [
    b"", b"null", b"[]", b'""', b"0", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 20_000, b"NaN", b'{"a":1,"a":2}',
    b"\xef\xbb\xbf{}", b"1" * 5000, b'{"x": "\\ud800"}', b"\0" * 10,
]  # fmt: skip


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow references."""
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def sensible(schema: dict[str, Any], rng: random.Random, depth: int = 0) -> Json:
    """A value that the schema takes, or nearly: edges of its bounds as often as not."""
    schema = resolve(schema)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return sensible(rng.choice(schema[union]), rng, depth)
    kind = schema.get("type")
    if kind == "object":
        required = set(schema.get("required", ()))
        made = {
            name: sensible(member, rng, depth + 1)
            for name, member in schema.get("properties", {}).items()
            if name in required or (depth < 4 and rng.random() < 0.5)
        }
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            made |= {f"K{number}": sensible(extra, rng, depth + 1) for number in range(rng.randint(0, 3))}
        return made
    if kind == "array":
        least = schema.get("minItems", 0)
        return [sensible(schema["items"], rng, depth + 1) for _ in range(rng.randint(least, least + 2))]
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", -(2**40)))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 2**62))
        return rng.choice([low, high, low + 1, high - 1, rng.randint(int(low), int(high))])
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "string":
        return _text(schema, rng)
    return None


def _text(schema: dict[str, Any], rng: random.Random) -> str:
    pattern = schema.get("pattern", "")
    for length, example in _PATTERNS.items():
        if f"{{{length}}}" in pattern:
            return example
    if schema.get("format") == "date-time":
        return rng.choice(["2099-01-01T00:00:00Z", "1970-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z"])
    if schema.get("format") == "email":
        return f"a{rng.randrange(10**6)}@example.org"
    least, most = schema.get("minLength", 0), min(schema.get("maxLength", 20), 200)
    return "a" * rng.choice([least, most, rng.randint(least, max(most, least))])


def spoilt(body: Json, rng: random.Random) -> Json:
    """The body with one to three places changed, emptied, doubled or added."""
    spoiled = copy.deepcopy(body)
    for _ in range(rng.randint(1, 3)):
        places = list(_places(spoiled))
        if not places:
            return rng.choice(NASTY)
        holder, name = rng.choice(places)
        action = rng.random()
        if action < 0.75:
            holder[name] = copy.deepcopy(rng.choice(NASTY))
        elif action < 0.85:
            del holder[name]
        elif isinstance(holder, dict):
            holder[rng.choice(["x", "", "\0", "id", name + " "])] = rng.choice(NASTY)
        else:
            holder.append(copy.deepcopy(holder[name]))
    return spoiled


def _places(value: Json) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    members = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for name, member in members:
        found.append((value, name))
        found += _places(member)
    return found


def encoded(body: Json) -> bytes:
    """As JSON, with lone surrogates, NaN and all: what a careless or ill-meaning client sends."""
    return json.dumps(body).encode()
