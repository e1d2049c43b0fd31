"""An agent's bearer token: bound to its node, and no person's token."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gp4u_server.accounts.tokens import AUDIENCE_API, TokenSigner
from gp4u_server.kit.clock import ManualClock
from gp4u_server.kit.errors import DomainError, Kind
from gp4u_server.nodes.tokens import AGENT_TOKEN_LIFETIME_S, AgentTokens
from gp4u_server.nodes.web import agent_principal

CLOCK = ManualClock()
SIGNER = TokenSigner.of(Ed25519PrivateKey.generate(), CLOCK)
TOKENS = AgentTokens(SIGNER)


def test_a_minted_token_names_its_node():
    assert agent_principal(TOKENS, f"Bearer {TOKENS.mint('node_1')}").node_id == "node_1"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer rubbish",
        "Basic " + TOKENS.mint("node_1"),
        "Bearer " + SIGNER.sign("user_1", AUDIENCE_API, 900),
        "Bearer " + AgentTokens(TokenSigner.of(Ed25519PrivateKey.generate(), CLOCK)).mint("node_1"),
    ],
)
def test_anything_else_is_refused(header):
    with pytest.raises(DomainError) as refused:
        agent_principal(TOKENS, header)
    assert refused.value.kind is Kind.UNAUTHENTICATED


def test_a_token_ends():
    clock = ManualClock()
    tokens = AgentTokens(TokenSigner(SIGNER.key, SIGNER.mac_key, clock))
    token = tokens.mint("node_1")
    clock.advance(AGENT_TOKEN_LIFETIME_S + 1)
    with pytest.raises(DomainError):
        tokens.node_of(token)
