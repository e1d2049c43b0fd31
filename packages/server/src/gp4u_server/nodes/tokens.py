"""The HTTP token of an agent: minted by the gateway for a node that proved its key, good for a quarter of an hour."""

from dataclasses import dataclass

from gp4u_server.accounts.tokens import AUDIENCE_AGENT, TokenSigner

AGENT_TOKEN_LIFETIME_S = 900


@dataclass(frozen=True)
class AgentTokens:
    """Mints and reads agents' bearer tokens."""

    signer: TokenSigner

    def mint(self, node_id: str) -> str:
        """A token for `/api/v1/agent/*`, bound to this node."""
        return self.signer.sign(node_id, AUDIENCE_AGENT, AGENT_TOKEN_LIFETIME_S)

    def node_of(self, token: str) -> str:
        """Whose token it is. Raises a DomainError of kind UNAUTHENTICATED."""
        return str(self.signer.verify(token, AUDIENCE_AGENT)["sub"])
