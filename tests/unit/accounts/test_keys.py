"""The form of API keys."""

import re

import pytest
from gp4u_server.accounts.keys import hash_of, is_well_formed, new_key
from hypothesis import given
from hypothesis import strategies as st


def test_a_key_has_its_form_and_is_new_each_time() -> None:
    keys = {new_key() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(re.fullmatch(r"gp4u_[0-9A-Za-z]{38}", key) and is_well_formed(key) for key in keys)
    assert len(hash_of(keys.pop())) == 32


def test_every_typing_error_of_one_character_is_noticed() -> None:
    key = new_key()
    for place in range(5, len(key)):
        changed = key[:place] + ("a" if key[place] != "a" else "b") + key[place + 1 :]
        assert not is_well_formed(changed)


@pytest.mark.parametrize("key", ["", "gp4u_", "gp4u_" + "a" * 38, "GP4U_" + "a" * 38, "sk_live_x"])
def test_what_is_not_a_key_is_not_one(key: str) -> None:
    assert not is_well_formed(key)


@given(st.text(max_size=60))
def test_no_text_is_a_key_by_accident_and_none_breaks_the_parser(text: str) -> None:
    assert not is_well_formed(text)
    assert not is_well_formed(new_key() + text + "!")
