"""The API's description: stable names, and an explanation for every operation."""

from collections import Counter

import pytest
from gp4u_protocol.job_spec import JobSpec
from gp4u_server.api import description
from gp4u_server.api.app import create_app
from gp4u_server.api.errors import MEDIA_TYPE, STATUS
from gp4u_server.bookings.schemas import BookingIn
from gp4u_server.kit.errors import DomainError
from gp4u_server.market import query
from gp4u_server.market.catalogue import load as load_catalogue
from pydantic import BaseModel

DOCUMENT = create_app().openapi()
OPERATIONS = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]


def test_operation_ids_are_unique_and_are_the_names_of_functions() -> None:
    names = Counter(operation["operationId"] for operation in OPERATIONS)
    assert [name for name, count in names.items() if count > 1] == []
    assert all(name.isidentifier() for name in names)
    assert {"register", "submit_job", "search_offers", "read_platform"} <= set(names)


def test_every_operation_says_what_it_does() -> None:
    assert [operation["operationId"] for operation in OPERATIONS if not operation.get("description")] == []


def test_every_operation_has_a_summary() -> None:
    assert [operation["operationId"] for operation in OPERATIONS if not operation.get("summary")] == []


def test_failures_are_described_as_problems() -> None:
    for operation in OPERATIONS:
        default = operation["responses"]["default"]["content"]
        assert list(default) == [MEDIA_TYPE], operation["operationId"]
        assert "Problem" in str(default[MEDIA_TYPE]), operation["operationId"]


MODELS: dict[str, type[BaseModel]] = {"submit_job": JobSpec, "create_booking": BookingIn}


@pytest.mark.parametrize("operation", sorted(description.BODIES))
def test_examples_of_bodies_are_good_requests(operation: str) -> None:
    for example in description.BODIES[operation].values():
        MODELS[operation].model_validate(example["value"])


def test_examples_of_query_lines_are_understood() -> None:
    catalogue = load_catalogue()
    for example in description.QUERY_LINES.values():
        query.parse(example["value"], catalogue)


def test_examples_of_problems_have_codes_and_statuses_that_exist() -> None:
    def below(kind: type[DomainError]) -> list[type[DomainError]]:
        return [kind, *(found for child in kind.__subclasses__() for found in below(child))]

    statuses = {situation.code: STATUS[situation.kind] for situation in below(DomainError)}
    statuses["validation_failed"] = 422
    for problems in description.PROBLEMS.values():
        for status, (code, detail, _) in problems.items():
            assert statuses[code] == int(status), code
            assert detail


def test_examples_are_in_the_document() -> None:
    by_name = {operation["operationId"]: operation for operation in OPERATIONS}
    assert "chosen_offer" in str(by_name["create_booking"]["requestBody"])
    assert "offer_taken" in str(by_name["create_booking"]["responses"]["409"])
    assert "cheap_and_large" in str(by_name["search_offers"]["parameters"])
