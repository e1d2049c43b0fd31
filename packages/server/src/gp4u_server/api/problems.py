"""The error document as OpenAPI shows it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(description="dotted path, e.g. `resources.gpus`")
    message: str


class Problem(BaseModel):
    """RFC 9457. Branch on `code`; show `detail` to people. Some codes have further members."""

    model_config = ConfigDict(extra="allow")
    type: str
    title: str
    status: int
    code: str = Field(description="stable, e.g. `offer_taken`")
    detail: str = Field(description="what is wrong and what to do about it")
    request_id: str
    errors: list[FieldError] | None = Field(default=None, description="with `validation_failed`")


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "The request can never work as it is"},
    "default": {"model": Problem, "description": "Any other failure"},
}
