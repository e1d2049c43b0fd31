"""The fixtures of the API's own suite."""

from tests.integration.api.conftest import client, platform, settings

__all__ = ["client", "platform", "settings"]
