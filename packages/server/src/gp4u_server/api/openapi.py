"""`python -m gp4u_server.api.openapi` prints the API's description. Needs no database and no settings."""

import json
import sys

from gp4u_server.api.app import create_app


def main() -> None:
    """Print it, always in the same order, so that a difference is a change."""
    document = create_app().openapi()
    sys.stdout.write(json.dumps(document, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
