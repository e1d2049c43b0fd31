"""The whole platform over HTTP, as the router's tests have it."""

from tests.integration.routing.conftest import client, marketplace, platform, real_settings, settings

__all__ = ["client", "marketplace", "platform", "real_settings", "settings"]
