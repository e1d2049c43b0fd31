"""GP4U for renters: the Python SDK and the gp4u command.

    from gp4u import Client

    with Client() as gp4u:
        job = gp4u.run("python train.py", files=".", gpus=1)
        job.wait()
        print(job.log())

`AsyncClient` is the same for programs with an event loop. Importing this package is cheap; the HTTP client is loaded
with the first attribute.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gp4u.async_sdk import AsyncClient, AsyncJob
    from gp4u.sdk import Client, Job
    from gp4u.wire import ApiError

__all__ = ["ApiError", "AsyncClient", "AsyncJob", "Client", "Job"]

# Loaded when first asked for: that keeps `gp4u --help` quick.
_HOMES = {
    "ApiError": "gp4u.wire",
    "AsyncClient": "gp4u.async_sdk",
    "AsyncJob": "gp4u.async_sdk",
    "Client": "gp4u.sdk",
    "Job": "gp4u.sdk",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(_HOMES[name]), name)
