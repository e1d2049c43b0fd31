"""How far the tests of hazards go. `make test` is cheap; GP4U_SCALE=50 takes the same tests to their full size.

    GP4U_SCALE=50 .venv/bin/pytest -q -k "test_h1_ or test_h4_ or test_h14_"

What was measured at full size is in docs/hazards.md.
"""

import os

SCALE = float(os.environ.get("GP4U_SCALE", "1"))


def scaled(count: int) -> int:
    """`count`, as many times as the environment asks for."""
    return max(1, round(count * SCALE))
