"""Addresses of the marketplace, as settings name them and as agents are told them."""

from pathlib import Path

import pytest
from gp4u_server.nodes.addresses import PublicAddress
from gp4u_server.settings import Settings

ONE = "wss://a.example/agent/v1/connect"


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("https://a.example", ONE),
        ("https://a.example/", ONE),
        ("wss://a.example", ONE),
        (ONE, ONE),
        (" http://[::1]:8001 ", "ws://[::1]:8001/agent/v1/connect"),
        ("https://gp4u.example/market", "wss://gp4u.example/market/agent/v1/connect"),
    ],
)
def test_a_gateway_may_be_named_by_any_of_its_addresses(named: str, told: str) -> None:
    assert PublicAddress.of("http://public.example", [named], []).gateway_urls == [told]


def test_without_names_all_gateways_are_behind_the_public_address() -> None:
    address = PublicAddress.of("https://gp4u.example/", [], [])
    assert address.gateway_urls == ["wss://gp4u.example/agent/v1/connect"]
    assert (address.gateways, address.apis) == ((), ())


@pytest.mark.parametrize("nonsense", ["gateway", "ftp://a.example", "ws://", "http://a.example:99999"])
def test_what_is_no_address_stops_the_start(nonsense: str) -> None:
    with pytest.raises(ValueError):
        PublicAddress.of("http://public.example", [nonsense], [])


def test_settings_read_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GP4U_GATEWAY_URLS", "wss://a.example, wss://b.example:8443,")
    monkeypatch.setenv("GP4U_API_URLS", "")
    settings = Settings(DATABASE_URL="postgresql://x", REDIS_URL="redis://x", secrets_dir=tmp_path)  # type: ignore[call-arg]
    assert settings.gateway_urls == ("wss://a.example", "wss://b.example:8443")
    assert settings.api_urls == ()
    with pytest.raises(ValueError, match="http address"):
        PublicAddress.of("http://public.example", [], ["wss://a.example"])
