"""Names and reliability."""

import re

import pytest
from gp4u_server.nodes.decisions import free_name, slug
from gp4u_server.nodes.reliability import PRIOR_RATE_H, PRIOR_SHAPE, hazard_per_hour, survival
from hypothesis import given
from hypothesis import strategies as st

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@given(st.text(max_size=200))
def test_any_text_becomes_a_name_for_an_address(text):
    assert NAME.fullmatch(slug(text))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("gpu01.example.org", "gpu01"),
        ("Ada's Rig", "ada-s-rig"),
        ("Größe", "groe"),
        ("", "node"),
        ("日本", "node"),
    ],
)
def test_names_stay_recognisable(text, name):
    assert slug(text) == name


@given(st.text("ab", min_size=1, max_size=63), st.integers(0, 20))
def test_a_free_name_is_free_and_short_enough(wanted, taken_count):
    taken: set[str] = set()
    for _ in range(taken_count):
        taken.add(free_name(wanted, taken))
    assert len(taken) == taken_count
    assert all(len(name) <= 63 for name in taken)


def test_the_prior_is_the_mean_of_the_published_rates():
    published = [419 / (16_384 / 8 * 54) * 1000, 6.5, 24 / (7.9 * 128) * 1000]
    mean_per_hour = sum(published) / 3 / 1000 / 24
    assert hazard_per_hour(0, 0) == pytest.approx(PRIOR_SHAPE / PRIOR_RATE_H)
    assert hazard_per_hour(0, 0) == pytest.approx(mean_per_hour, rel=0.01)


@given(st.integers(0, 1000), st.floats(0, 1e9))
def test_losses_lower_and_time_online_raises_reliability(losses, online_s):
    now = survival(losses, online_s)
    assert 0 <= now <= 1
    assert survival(losses + 1, online_s) < now
    assert survival(losses, online_s + 86_400) > now


def test_the_record_outweighs_the_prior_in_the_end():
    week_s = 7 * 86_400
    assert survival(0, 0) == pytest.approx(0.9888, abs=0.0005)
    assert survival(7, week_s) < 0.93
    assert survival(0, 52 * week_s) > 0.995
    assert hazard_per_hour(520, 52 * week_s) == pytest.approx(520 / (52 * week_s / 3600), rel=0.25)
