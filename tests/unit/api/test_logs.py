"""Nothing secret reaches a log line."""

import pytest
from gp4u_server.accounts.keys import new_key
from gp4u_server.foundation.logs import redact

JWT = "eyJhbGciOiJFZDI1NTE5IiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJ1c3JfMSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "name", ["password", "refresh_token", "Authorization", "set-cookie", "client_secret", "apiKey"]
)
def test_members_named_like_secrets_are_blank(name: str) -> None:
    assert redact(None, "info", {name: "canary", "event": "x"}) == {name: "[redacted]", "event": "x"}


@pytest.mark.parametrize(
    "secret",
    [new_key(), JWT, "postgresql://gp4u:canary@db/gp4u", "/api/v1/store/x?op=get&sig=abc123"],
    ids=["api_key", "jwt", "database_url", "signed_address"],
)
def test_secrets_inside_texts_are_blank(secret: str) -> None:
    cleaned = redact(None, "info", {"event": f"failed with {secret} at last"})["event"]
    assert secret not in cleaned
    assert "canary" not in cleaned
    assert cleaned.startswith("failed with ")
    assert cleaned.endswith(" at last")
