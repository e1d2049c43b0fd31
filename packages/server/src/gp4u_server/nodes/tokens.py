"""The HTTP token of an agent: minted by the gateway for a node that proved its key, good for a quarter of an hour."""

from dataclasses import dataclass

from gp4u_server.nodes.errors import AgentTokenInvalid
from gp4u_server.nodes.ports import TokenSigner

AUDIENCE = "gp4u-agent"
AGENT_TOKEN_LIFETIME_S = 900


@dataclass(frozen=True)
class AgentTokens:
    """Mints and reads agents' bearer tokens."""

    signer: TokenSigner

    def mint(self, node_id: str) -> str:
        """A token for `/api/v1/agent/*`, bound to this node."""
        return self.signer.sign({"sub": node_id}, audience=AUDIENCE, lifetime_s=AGENT_TOKEN_LIFETIME_S)

    def node_of(self, token: str) -> str:
        """Whose token it is. Raises a DomainError of kind UNAUTHENTICATED."""
        node_id = self.signer.verify(token, audience=AUDIENCE).get("sub")
        if not isinstance(node_id, str) or not node_id:
            raise AgentTokenInvalid("The token names no node.")
        return node_id
