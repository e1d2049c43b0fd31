"""What the API's description says beyond what the endpoints' types say: the errors' media type, and examples."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from gp4u_server.api.errors import MEDIA_TYPE

Json = dict[str, Any]
_PROBLEM_SCHEMA: Json = {"$ref": "#/components/schemas/Problem"}

_JOB: Json = {
    "name": "digits",
    "command": "python train.py --epochs 300",
    "upload_id": "upl_01k3v9x4d2",
    "resources": {"gpus": 1, "vram_gb_min": 24, "gpu_models": ["RTX_4090", "A100_80GB"]},
    "checkpoint": {"path": "ckpt", "every_s": 5},
    "budget": {"per_hour_micros_max": 800_000, "total_micros_max": 5_000_000},
    "protection": "catalyst",
}
# By operation; each body is checked against its model by a test.
BODIES: dict[str, dict[str, Json]] = {
    "submit_job": {
        "wherever_it_fits": {"summary": "The router chooses and books", "value": _JOB},
        "smallest": {"summary": "Only what is required", "value": {"command": "nvidia-smi"}},
    },
    "create_booking": {
        "chosen_offer": {
            "summary": "On an offer found by a search",
            "value": {"offer_id": "off_01k3v9wq7m", "job": _JOB},
        }
    },
}
QUERY_LINES: dict[str, Json] = {
    "cheap_and_large": {"summary": "Sorted by price", "value": "vram_gb>=24 price<=1.50 sort:price"},
    "one_model": {
        "summary": "One model in one region",
        "value": "gpu_model=RTX_4090 region=eu-west reliability>=0.95",
    },
    "value_for_money": {"summary": "Speed for the money", "value": "fp16_tflops>=100 sort:-perf_per_dollar"},
}
# By operation and status: what a caller should be ready for. The rest is in docs/api.md.
PROBLEMS: dict[str, dict[str, tuple[str, str, Json]]] = {
    "submit_job": {
        "402": ("insufficient_funds", "The wallet does not cover the hold for this job.", {}),
        "422": (
            "validation_failed",
            "resources.gpus: Input should be greater than or equal to 1",
            {
                "errors": [
                    {"field": "resources.gpus", "message": "Input should be greater than or equal to 1"}
                ]
            },
        ),
    },
    "create_booking": {
        "402": ("insufficient_funds", "The wallet does not cover the hold for this booking.", {}),
        "409": ("offer_taken", "The offer has been taken; choose another one.", {}),
    },
    "search_offers": {
        "422": (
            "unknown_field",
            "There is no field gpu_modle. Did you mean gpu_model?",
            {"field": "gpu_modle", "suggestion": "gpu_model", "position": 0},
        ),
    },
}


def describe(app: FastAPI) -> Json:
    """The OpenAPI document of `app`, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        for operation in _operations(document):
            _errors_are_problems(operation)
            _add_examples(operation)
        app.openapi_schema = document
    return app.openapi_schema


def problem_example(status: str, code: str, detail: str, extra: Json) -> Json:
    """An error document as the API sends it."""
    return {
        **extra,
        "type": f"urn:gp4u:error:{code}",
        "title": HTTPStatus(int(status)).phrase,
        "status": int(status),
        "code": code,
        "detail": detail,
        "request_id": "req_01k3v9z0c8",
    }


def _operations(document: Json) -> Iterator[Json]:
    for methods in document["paths"].values():
        yield from methods.values()


def _errors_are_problems(operation: Json) -> None:
    # The framework knows models, not their media type.
    for answer in operation["responses"].values():
        content = answer.get("content", {})
        if content.get("application/json", {}).get("schema") == _PROBLEM_SCHEMA:
            answer["content"] = {MEDIA_TYPE: content["application/json"]}


def _add_examples(operation: Json) -> None:
    name = operation["operationId"]
    if name in BODIES:
        operation["requestBody"]["content"]["application/json"]["examples"] = BODIES[name]
    if name == "search_offers":
        line = next(parameter for parameter in operation["parameters"] if parameter["name"] == "q")
        line["examples"] = QUERY_LINES
    for status, (code, detail, extra) in PROBLEMS.get(name, {}).items():
        answer = operation["responses"].setdefault(
            status,
            {"description": f"`{code}`", "content": {MEDIA_TYPE: {"schema": dict(_PROBLEM_SCHEMA)}}},
        )
        answer["content"][MEDIA_TYPE]["examples"] = {
            code: {"value": problem_example(status, code, detail, extra)}
        }
