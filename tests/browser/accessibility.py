"""axe-core in the page: what a machine can know about whether everybody can use it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from playwright.async_api import Page

AXE = Path(__file__).resolve().parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
STANDARD = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@cache
def _program() -> str:
    return AXE.read_text()


async def violations(page: Page) -> list[str]:
    """Every violation on the page as it stands, one line each."""
    # Evaluated over the debugging protocol and not as a script tag, which the page's own policy would refuse.
    await page.evaluate(_program())
    # Colours are judged at rest: half-way through a fade every text is too pale.
    await page.evaluate(
        "Promise.allSettled(document.getAnimations().filter(a => a.effect.getTiming().iterations === 1)"
        ".map(a => a.finished))"
    )
    found: dict[str, Any] = await page.evaluate(
        f"axe.run(document, {{runOnly: {json.dumps(STANDARD)}, resultTypes: ['violations']}})"
    )
    return [
        f"{page.url} {violation['id']} ({violation['impact']}): {violation['help']}: "
        + " | ".join(f"{node['target']} {node['html'][:160]}" for node in violation["nodes"][:4])
        for violation in found["violations"]
    ]
