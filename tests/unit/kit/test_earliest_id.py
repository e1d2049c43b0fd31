"""A time bound on identifiers is a bound on rows."""

from datetime import UTC, datetime, timedelta

from gp4u_server.kit.ids import earliest_id, new_id


def test_an_id_lies_between_the_bounds_around_its_making() -> None:
    # Ids carry whole milliseconds, so the bound before is taken a little earlier.
    before = earliest_id("job", datetime.now(UTC) - timedelta(milliseconds=2))
    made = new_id("job")
    after = earliest_id("job", datetime.now(UTC) + timedelta(milliseconds=2))
    assert before < made < after
    assert len(before) == len(made)
    assert before.startswith("job_")
