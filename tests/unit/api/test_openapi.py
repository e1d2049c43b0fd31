"""The API's description: stable names, and an explanation for every operation."""

from collections import Counter

from gp4u_server.api.app import create_app

DOCUMENT = create_app().openapi()
OPERATIONS = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]


def test_operation_ids_are_unique_and_are_the_names_of_functions() -> None:
    names = Counter(operation["operationId"] for operation in OPERATIONS)
    assert [name for name, count in names.items() if count > 1] == []
    assert all(name.isidentifier() for name in names)
    assert {"register", "submit_job", "search_offers", "read_platform"} <= set(names)


def test_every_operation_says_what_it_does() -> None:
    assert [operation["operationId"] for operation in OPERATIONS if not operation.get("description")] == []


def test_failures_are_described_as_problems() -> None:
    for operation in OPERATIONS:
        default = operation["responses"]["default"]["content"]
        assert any("Problem" in str(content) for content in default.values()), operation["operationId"]
