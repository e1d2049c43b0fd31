"""gp4u-sim."""


def main() -> int:
    """Placeholder until the next file lands."""
    return 0
