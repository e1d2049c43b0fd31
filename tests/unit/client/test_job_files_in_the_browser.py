"""The web app reads job files too. Both readers are held to the same cases."""

import json
from pathlib import Path
from typing import Any

import pytest
from gp4u_protocol.job_file import JobFileInvalid, parse_job_file

CASES: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "web/src/features/jobs/job-file.cases.json").read_text()
)


def says(whole: Any, part: Any) -> bool:
    """Whether `whole` holds everything of `part`."""
    if isinstance(part, dict):
        return all(name in whole and says(whole[name], value) for name, value in part.items())
    return bool(whole == part)


@pytest.mark.parametrize("case", CASES["good"], ids=lambda case: case["text"][:40])
def test_a_good_file_means_the_same(case: dict[str, Any], tmp_path: Path) -> None:
    spec = parse_job_file(case["text"], base=tmp_path).spec.model_dump(mode="json")
    assert says(spec, case["spec"])


@pytest.mark.parametrize("case", CASES["bad"], ids=lambda case: case["text"][:40])
def test_a_bad_file_is_wrong_in_the_same_places(case: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(JobFileInvalid) as refused:
        parse_job_file(case["text"], base=tmp_path)
    assert sorted({mistake.field for mistake in refused.value.mistakes}) == case["fields"]
