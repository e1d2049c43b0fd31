"""What a session was opened from, in words its owner recognises. PURE.

What a client says of itself proves nothing; it is a help to the memory.
"""

import re

USER_AGENT_CHARS_MAX = 400

# The first that is found counts: every browser names those it wants to be taken for, too.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR", "Opera"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chromium", "Chromium"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_PRODUCT = re.compile(r"[A-Za-z0-9._-]{1,40}(/[A-Za-z0-9._-]{1,40})?")


def kept_user_agent(header: str | None) -> str:
    """What is stored of a User-Agent header: printable, and not too long."""
    return "".join(char for char in header or "" if char.isprintable())[:USER_AGENT_CHARS_MAX]


def device_of(user_agent: str) -> str:
    """For example "Firefox on Linux" or "gp4u/0.1.0"; "unknown" when it said nothing that can be read."""
    if not user_agent.startswith("Mozilla/"):
        product = _PRODUCT.match(user_agent)
        return product.group() if product else "unknown"
    browser = next((name for mark, name in _BROWSERS if mark in user_agent), "A browser")
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), None)
    return f"{browser} on {system}" if system else browser
