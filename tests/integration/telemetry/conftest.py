"""Whoever owns a node, and whoever runs jobs there, over HTTP."""

from tests.integration.routing.conftest import client, marketplace, platform, real_settings, settings

__all__ = ["client", "marketplace", "platform", "real_settings", "settings"]
