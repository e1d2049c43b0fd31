"""Access tokens: only an unchanged, unexpired token of ours for this audience is good."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gp4u_server.accounts.errors import InvalidToken, TokenExpired
from gp4u_server.accounts.tokens import TokenSigner, write_signing_key
from gp4u_server.kit.clock import ManualClock

CLOCK = ManualClock()
KEY = Ed25519PrivateKey.generate()
SIGNER = TokenSigner.of(KEY, CLOCK)
OTHER = TokenSigner.of(Ed25519PrivateKey.generate(), CLOCK)
NOW_S = int(CLOCK.now().timestamp())
PUBLIC_PEM = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
PUBLIC_RAW = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _header(**changes: Any) -> dict[str, Any]:
    return {"alg": "Ed25519", "typ": "at+jwt", "kid": SIGNER.key_id} | changes


def _claims(**changes: Any) -> dict[str, Any]:
    claims = {"iss": "gp4u", "sub": "usr_1", "aud": "gp4u-api", "iat": NOW_S, "exp": NOW_S + 600} | changes
    return {name: value for name, value in claims.items() if value is not ...}


def _signed(header: Any, claims: Any, sign: Callable[[bytes], bytes] = KEY.sign) -> str:
    body = f"{_part(header)}.{_part(claims)}"
    return f"{body}.{_part(sign(body.encode()))}"


def _hs256(key: bytes) -> Callable[[bytes], bytes]:
    return lambda body: hmac.new(key, body, hashlib.sha256).digest()


GOOD = SIGNER.sign("usr_1", "gp4u-api", 600, {"sid": "ses_1"})
HEAD, BODY, SIGNATURE = GOOD.split(".")
EMBEDDED = {"kty": "OKP", "crv": "Ed25519", "x": _part(b"\1" * 32)}

MUTATIONS: dict[str, str] = {
    "empty": "",
    "not a token": "hello",
    "two parts": f"{HEAD}.{BODY}",
    "four parts": f"{GOOD}.x",
    "no signature": f"{HEAD}.{BODY}.",
    "signature cut": GOOD[:-4],
    "signature of zeros": f"{HEAD}.{BODY}.{_part(bytes(64))}",
    "signature bit flipped": f"{HEAD}.{BODY}.{'B' if SIGNATURE[0] == 'A' else 'A'}{SIGNATURE[1:]}",
    "other body, same signature": f"{HEAD}.{_part(_claims(sub='usr_2'))}.{SIGNATURE}",
    "other header, same signature": f"{_part(_header(kid='x'))}.{BODY}.{SIGNATURE}",
    "alg none, no signature": f"{_part(_header(alg='none'))}.{_part(_claims())}.",
    "alg None": f"{_part(_header(alg='None'))}.{_part(_claims())}.",
    "alg NONE signed": _signed(_header(alg="NONE"), _claims()),
    "alg missing": _signed({"typ": "at+jwt", "kid": SIGNER.key_id}, _claims()),
    "alg number": _signed(_header(alg=1), _claims()),
    "alg list": _signed(_header(alg=["Ed25519"]), _claims()),
    "HS256 with the public key as PEM": _signed(_header(alg="HS256"), _claims(), _hs256(PUBLIC_PEM)),
    "HS256 with the raw public key": _signed(_header(alg="HS256"), _claims(), _hs256(PUBLIC_RAW)),
    "HS256 with an empty key": _signed(_header(alg="HS256"), _claims(), _hs256(b"")),
    "RS256": _signed(_header(alg="RS256"), _claims()),
    "ES256": _signed(_header(alg="ES256"), _claims()),
    "EdDSA in general": _signed(_header(alg="EdDSA"), _claims()),
    "Ed448": _signed(_header(alg="Ed448"), _claims()),
    "foreign key": OTHER.sign("usr_1", "gp4u-api", 600),
    "foreign key under our kid": _signed(_header(), _claims(), OTHER.key.private_key.sign),
    "key in the header": _signed(_header(jwk=EMBEDDED), _claims(), OTHER.key.private_key.sign),
    "jku": _signed(_header(jku="https://evil.example/keys"), _claims(), OTHER.key.private_key.sign),
    "x5u": _signed(_header(x5u="https://evil.example/cert"), _claims(), OTHER.key.private_key.sign),
    "crit": _signed(_header(crit=["exp"]), _claims()),
    "crit unknown": _signed(_header(crit=["unheard"], unheard=1), _claims()),
    "kid missing": _signed({"alg": "Ed25519", "typ": "at+jwt"}, _claims()),
    "kid other": _signed(_header(kid="other"), _claims()),
    "kid path": _signed(_header(kid="../../dev/null"), _claims()),
    "typ missing": _signed({"alg": "Ed25519", "kid": SIGNER.key_id}, _claims()),
    "typ JWT": _signed(_header(typ="JWT"), _claims()),
    "typ refresh": _signed(_header(typ="rt+jwt"), _claims()),
    "iss missing": _signed(_header(), _claims(iss=...)),
    "iss other": _signed(_header(), _claims(iss="elsewhere")),
    "iss list": _signed(_header(), _claims(iss=["gp4u"])),
    "aud missing": _signed(_header(), _claims(aud=...)),
    "aud agent": _signed(_header(), _claims(aud="gp4u-agent")),
    "aud list": _signed(_header(), _claims(aud=["gp4u-api", "other"])),
    "aud prefix": _signed(_header(), _claims(aud="gp4u-api-2")),
    "aud null": _signed(_header(), _claims(aud=None)),
    "sub missing": _signed(_header(), _claims(sub=...)),
    "sub empty": _signed(_header(), _claims(sub="")),
    "sub number": _signed(_header(), _claims(sub=1)),
    "sub null": _signed(_header(), _claims(sub=None)),
    "sub endless": _signed(_header(), _claims(sub="u" * 201)),
    "exp missing": _signed(_header(), _claims(exp=...)),
    "exp text": _signed(_header(), _claims(exp=str(NOW_S + 600))),
    "exp true": _signed(_header(), _claims(exp=True)),
    "exp infinite": _signed(_header(), _claims(exp=float("inf"))),
    "iat missing": _signed(_header(), _claims(iat=...)),
    "iat tomorrow": _signed(_header(), _claims(iat=NOW_S + 86_400, exp=NOW_S + 90_000)),
    "iat text": _signed(_header(), _claims(iat="now")),
    "nbf tomorrow": _signed(_header(), _claims(nbf=NOW_S + 86_400)),
    "claims a list": _signed(_header(), ["usr_1"]),
    "claims text": _signed(_header(), b"usr_1"),
    "header a list": _signed(["Ed25519"], _claims()),
    "base64 with padding": f"{HEAD}=.{BODY}.{SIGNATURE}",
    "white space": f" {GOOD}",
    "newline": f"{GOOD}\n",
    "huge": "A" * 10_000,
    "not ASCII": GOOD.replace("e", "é", 1),
}


def test_a_good_token_answers_its_claims() -> None:
    assert SIGNER.verify(GOOD, "gp4u-api") == _claims(sid="ses_1")


def test_h21_there_are_sixty_mutations_and_no_two_are_the_same() -> None:
    assert len(set(MUTATIONS.values())) == len(MUTATIONS) >= 60
    assert GOOD not in MUTATIONS.values()


@pytest.mark.parametrize("mutation", MUTATIONS.values(), ids=MUTATIONS)
def test_h21_a_mutated_token_is_refused(mutation: str) -> None:
    with pytest.raises(InvalidToken):
        SIGNER.verify(mutation, "gp4u-api")


@pytest.mark.parametrize("past_s", [0, 1, 10**9])
def test_an_expired_token_is_refused_as_expired(past_s: int) -> None:
    expired = _signed(_header(), _claims(iat=NOW_S - 600, exp=NOW_S - past_s))
    with pytest.raises(TokenExpired):
        SIGNER.verify(expired, "gp4u-api")


def test_claims_cannot_replace_the_registered_ones() -> None:
    token = SIGNER.sign(
        "usr_1", "gp4u-api", 600, {"sub": "usr_2", "aud": "x", "exp": NOW_S + 10**6, "iss": "x"}
    )
    assert SIGNER.verify(token, "gp4u-api") == _claims()


def test_macs_of_different_purposes_differ() -> None:
    macs = {SIGNER.mac("a", "x"), SIGNER.mac("b", "x"), SIGNER.mac("a", "y"), OTHER.mac("a", "x")}
    assert len(macs) == 4
    assert SIGNER.mac("a", "x") == TokenSigner.of(KEY, CLOCK).mac("a", "x")


def test_the_signing_key_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = write_signing_key(tmp_path / "secrets")
    first = path.read_bytes()
    write_signing_key(tmp_path / "secrets")
    assert path.read_bytes() == first
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["signing.pem"]
    token = TokenSigner.load(path.parent).sign("node_1", "gp4u-agent", 60)
    assert TokenSigner.load(path.parent).verify(token, "gp4u-agent")["sub"] == "node_1"
