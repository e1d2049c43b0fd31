"""Accounts are tested on the same platform as the API."""

from tests.integration.api.conftest import client, platform, settings

__all__ = ["client", "platform", "settings"]
