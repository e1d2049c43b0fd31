"""Control groups that somebody else takes away."""

from pathlib import Path

import pytest
from gp4u_agent.runtime.cgroups import JobCgroups


@pytest.mark.parametrize(("version", "file"), [(2, "cgroup.freeze"), (1, "freezer.state")])
def test_a_group_that_is_gone_needs_no_thaw_and_one_that_is_there_gets_it(
    tmp_path: Path, version: int, file: str
) -> None:
    """Its keeper may remove it at any moment after the last process has ended."""
    group = tmp_path / "job"
    groups = JobCgroups({"freeze": group}, {"freeze": version})
    groups.thaw()
    group.mkdir()
    groups.thaw()
    assert (group / file).read_text() in ("0", "THAWED")
    (group / file).unlink()
    (group / file).mkdir()
    with pytest.raises(IsADirectoryError):
        groups.thaw()
