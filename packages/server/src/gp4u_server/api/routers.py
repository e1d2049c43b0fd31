"""Every domain's endpoints. A new domain adds its router here and its services in bootstrap."""

from gp4u_server.accounts import endpoints as accounts
from gp4u_server.adapters import objectstore_web
from gp4u_server.admin import endpoints as admin
from gp4u_server.billing import endpoints as billing
from gp4u_server.bookings import endpoints as bookings
from gp4u_server.catalyst.checkpoints import agent_endpoints as agent_checkpoints
from gp4u_server.catalyst.checkpoints import endpoints as checkpoints
from gp4u_server.catalyst.incidents import endpoints as incidents
from gp4u_server.catalyst.jobs import endpoints as jobs
from gp4u_server.catalyst.routing import endpoints as routing
from gp4u_server.catalyst.standby import agent_endpoints as agent_standbys
from gp4u_server.catalyst.telemetry import endpoints as telemetry
from gp4u_server.catalyst.telemetry import hold_endpoints as drain_holds
from gp4u_server.demo import endpoints as demo
from gp4u_server.market import endpoints as market
from gp4u_server.nodes import duty_endpoints as duties
from gp4u_server.nodes import endpoints as nodes

# For people and their programs: counted against the general rate limit.
ROUTERS = (
    accounts.router,
    market.router,
    bookings.router,
    jobs.router,
    routing.router,
    checkpoints.router,
    billing.router,
    nodes.router,
    duties.router,
    incidents.router,
    telemetry.router,
    drain_holds.router,
    demo.router,
    admin.router,
)
# For agents, with a token of their own, and larger bodies.
AGENT_ROUTERS = (agent_checkpoints.router, agent_standbys.router)
# Signed addresses of the folder store.
STORE_ROUTERS = (objectstore_web.router,)
