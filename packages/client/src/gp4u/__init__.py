"""GP4U for renters: the Python SDK and the gp4u command.

    from gp4u import Client

    with Client() as gp4u:
        job = gp4u.run("python train.py", files=".", gpus=1)
        job.wait()
        print(job.log())

Importing this package is cheap; the HTTP client is loaded with the first attribute.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gp4u.api import ApiError
    from gp4u.sdk import Client, Job

__all__ = ["ApiError", "Client", "Job"]


def __getattr__(name: str) -> Any:
    if name in {"Client", "Job"}:
        from gp4u import sdk  # noqa: PLC0415  keeps `gp4u --help` quick

        return getattr(sdk, name)
    if name == "ApiError":
        from gp4u.api import ApiError  # noqa: PLC0415

        return ApiError
    raise AttributeError(name)
