"""A handshake that an agent gave up must not be written any more: it would supersede the session that came after it."""

from gp4u_agent.connection import HANDSHAKE_TIMEOUT_S
from gp4u_server.gateway.app import HANDSHAKE_S_MAX
from gp4u_simulation.database import CONNECT_S_MAX


def test_h2_a_gateway_gives_a_handshake_up_before_the_agent_does() -> None:
    assert HANDSHAKE_S_MAX < HANDSHAKE_TIMEOUT_S
    assert HANDSHAKE_S_MAX <= CONNECT_S_MAX  # what the simulated seeds have shown to be safe
