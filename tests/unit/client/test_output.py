"""What people read: tables that fit, errors that say what to do, names that were nearly right."""

import click
import pytest
from gp4u.api import ApiError
from gp4u.commands.jobs import _as_it_happened
from gp4u.output import columns_to_hide, did_you_mean, explain, parse_money


def test_a_narrow_terminal_loses_columns_and_never_parts_of_a_price() -> None:
    columns, widths = ["OFFER", "GPU", "PRICE", "REGION", "NODE"], [30, 20, 6, 12, 8]
    hide = lambda room: columns_to_hide(columns, widths, room, ["NODE", "REGION"])  # noqa: E731
    assert hide(None) == set()
    assert hide(84) == set()
    assert hide(83) == {"NODE"}
    assert hide(74) == {"NODE"}
    assert hide(73) == {"NODE", "REGION"}
    assert hide(10) == {"NODE", "REGION"}


@pytest.mark.parametrize(
    ("word", "answer"),
    [("digitz", " Did you mean `digits`?"), ("dig", " Did you mean `digits`?"), ("xyz", "")],
)
def test_a_name_that_is_nearly_right_is_suggested(word: str, answer: str) -> None:
    assert did_you_mean(word, ["train", "digits", "digits"]) == answer


def test_nothing_is_said_twice() -> None:
    document = {
        "suggestion": "vram_gb",
        "errors": [{"field": "q", "message": "there is no field 'vramgb'"}],
    }
    error = ApiError(422, "invalid", "q: there is no field 'vramgb'. Did you mean vram_gb?", document)
    assert explain(error) == ["q: there is no field 'vramgb'. Did you mean vram_gb?"]
    other = ApiError(422, "invalid", "Not valid.", document)
    assert explain(other) == ["Not valid.", "  q: there is no field 'vramgb'", "Did you mean `vram_gb`?"]


def test_people_never_read_micro_units() -> None:
    error = ApiError(
        422, "invalid", "price_per_gpu_hour_micros: Input should be less than or equal to 1000000000", {}
    )
    assert explain(error) == ["price per gpu hour: Input should be less than or equal to $1,000.00"]


def test_whoever_typed_a_wrong_password_is_not_told_to_sign_in() -> None:
    assert explain(ApiError(401, "wrong_credentials", "Wrong.")) == ["Wrong."]
    assert "gp4u login" in explain(ApiError(401, "token_expired", "Expired."))[1]
    assert "gp4u admin grant" in explain(ApiError(403, "role_required", "This needs the role owner."))[1]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "0.0000001", "", "a lot", "1,50"])
def test_an_amount_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        parse_money(text, "--price")
    assert "--price" in refused.value.format_message()


def test_an_amount() -> None:
    assert parse_money(" $12.50 ") == 12_500_000


def test_the_parts_of_a_failover_are_told_as_they_happen() -> None:
    stored = {"start_ms": 4, "new_ms": 9, "first_step_ms": 6, "decide_ms": 2, "detect_ms": 1, "restore_ms": 3}
    told = [name for name, _ in sorted(stored.items(), key=_as_it_happened)]
    assert told == ["detect_ms", "decide_ms", "restore_ms", "start_ms", "first_step_ms", "new_ms"]
