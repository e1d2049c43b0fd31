"""The demo's accounts: everybody knows their password, so the door is open to them only where the demo itself runs.

A data folder, or a database, keeps them when the platform is started without `--demo` later. Then they are there, and
own their wallets and bills, but nobody comes in as one of them: not by password, not by a token or key made before.
"""

DEMO_DOMAIN = "gp4u.demo"


def is_demo_address(email: str) -> bool:
    """Whether this is the address of a demo account."""
    return email.rpartition("@")[2].lower() == DEMO_DOMAIN
