"""What a session is called in the list of one's sessions."""

import pytest
from gp4u_server.accounts.demo import is_demo_address
from gp4u_server.accounts.devices import USER_AGENT_CHARS_MAX, device_of, kept_user_agent

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        (
            f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/156.0 Safari/537.36",
            "Chrome on Windows",
        ),
        (f"Mozilla/5.0 (Windows NT 10.0) {_WEBKIT} Chrome/156.0 Safari/537.36 Edg/156.0", "Edge on Windows"),
        (
            f"Mozilla/5.0 (Macintosh; Intel Mac OS X 15_0) {_WEBKIT} Version/19.0 Safari/605.1",
            "Safari on macOS",
        ),
        (
            f"Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) {_WEBKIT} Safari/604.1",
            "Safari on iPhone",
        ),
        (
            f"Mozilla/5.0 (Linux; Android 16; Pixel) {_WEBKIT} Chrome/156.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("Mozilla/5.0", "A browser"),
        ("gp4u/0.1.0 (Linux)", "gp4u/0.1.0"),
        ("curl/8.5", "curl/8.5"),
        ("", "unknown"),
        ("<script>alert(1)</script>", "unknown"),
    ],
)
def test_a_session_is_named_after_what_opened_it(user_agent: str, device: str) -> None:
    assert device_of(user_agent) == device


def test_what_is_kept_of_a_header_is_short_and_printable() -> None:
    assert kept_user_agent(None) == ""
    assert kept_user_agent("a\0b\x1b[31m\r\nc\ud800") == "ab[31mc"
    assert len(kept_user_agent("x" * 100_000)) == USER_AGENT_CHARS_MAX


def test_demo_addresses_are_known_whatever_their_case() -> None:
    assert is_demo_address("Renter@GP4U.demo")
    assert not is_demo_address("renter@gp4u.demo.example.org")
    assert not is_demo_address("gp4u.demo@example.org")
    assert not is_demo_address("a@notgp4u.demo")
