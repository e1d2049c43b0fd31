"""The rules of refresh tokens, every case."""

from datetime import timedelta

import pytest
from cryptography.exceptions import InvalidTag
from gp4u_server.accounts.refresh import (
    REPLAY_GRACE,
    Presented,
    Verdict,
    judge,
    new_refresh_token,
    seal,
    unseal,
)
from gp4u_server.kit.clock import ManualClock

NOW = ManualClock().now()
LATER, A_MOMENT = NOW + timedelta(days=1), timedelta(microseconds=1)


def presented(
    *,
    revoked: bool = False,
    expires_at: object = LATER,
    used_ago: timedelta | None = None,
    successor_used: bool = False,
) -> Presented:
    return Presented(revoked, expires_at, None if used_ago is None else NOW - used_ago, successor_used)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("token", "verdict"),
    [
        (None, Verdict.REFUSED),
        (presented(), Verdict.ROTATE),
        (presented(revoked=True), Verdict.REFUSED),
        (presented(expires_at=NOW), Verdict.REFUSED),
        (presented(expires_at=NOW + A_MOMENT), Verdict.ROTATE),
        (presented(used_ago=timedelta(0)), Verdict.REPLAY),
        (presented(used_ago=REPLAY_GRACE), Verdict.REPLAY),
        (presented(used_ago=REPLAY_GRACE + A_MOMENT), Verdict.REUSED),
        (presented(used_ago=timedelta(0), successor_used=True), Verdict.REUSED),
        (presented(used_ago=timedelta(days=1), successor_used=True), Verdict.REUSED),
        (presented(used_ago=timedelta(days=1), revoked=True), Verdict.REFUSED),
        (presented(used_ago=timedelta(0), expires_at=NOW), Verdict.REFUSED),
    ],
)
def test_what_a_presented_token_deserves(token: Presented | None, verdict: Verdict) -> None:
    assert judge(token, NOW) is verdict


def test_a_successor_can_be_read_with_its_token_only() -> None:
    token, successor = new_refresh_token(), new_refresh_token()
    sealed = seal(successor, under=token)
    assert successor.encode() not in sealed
    assert unseal(sealed, under=token) == successor
    with pytest.raises(InvalidTag):
        unseal(sealed, under=new_refresh_token())
