"""Whole characters in log pages; data keys that open only for their job."""

import pytest
from cryptography.exceptions import InvalidTag
from gp4u_server.catalyst.jobs.data_keys import DATA_KEY_BYTES, DataKeys
from gp4u_server.catalyst.jobs.logs import _whole_characters


@pytest.mark.parametrize("text", ["abc", "añb", "日本語", "a😀b", ""])
def test_a_page_never_ends_inside_a_character(text: str) -> None:
    raw = text.encode()
    for cut in range(len(raw) + 1):
        whole = _whole_characters(raw[:cut])
        assert text.startswith(whole.decode())
        assert cut - len(whole) < 4


def test_data_key_opens_only_with_its_job_and_master_key() -> None:
    keys = DataKeys(b"m" * 32)
    wrapped = keys.create("job_a")
    assert len(keys.unwrap("job_a", wrapped)) == DATA_KEY_BYTES
    with pytest.raises(InvalidTag):
        keys.unwrap("job_b", wrapped)
    with pytest.raises(InvalidTag):
        DataKeys(b"x" * 32).unwrap("job_a", wrapped)
