"""Who is calling, for the endpoints that agents use."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header

from gp4u_server.foundation.web import provided
from gp4u_server.nodes.errors import AgentTokenInvalid
from gp4u_server.nodes.tokens import AgentTokens


@dataclass(frozen=True)
class AgentPrincipal:
    """An agent that proved its key to a gateway at most a token's lifetime ago."""

    node_id: str


def agent_principal(
    tokens: Annotated[AgentTokens, Depends(provided(AgentTokens))],
    authorization: Annotated[str | None, Header(max_length=4096)] = None,
) -> AgentPrincipal:
    """The agent behind `Authorization: Bearer …`. 401 without a live agent token; a person's token is none."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AgentTokenInvalid("Send the agent's token as `Authorization: Bearer …`.")
    return AgentPrincipal(tokens.node_of(token.strip()))


Agent = Annotated[AgentPrincipal, Depends(agent_principal)]
