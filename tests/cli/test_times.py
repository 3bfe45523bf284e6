"""Times and durations, as people type and read them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpf.errors import UsageError
from cli.times import age, duration_us, iso, parse_time, short

NOW = 1_700_000_000_000_000
MINUTE = 60_000_000
moments = st.integers(0, 253_402_300_799_999_999)
zones = st.integers(-14 * 60, 14 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("10m", NOW - 10 * MINUTE),
        ("2h30m", NOW - 150 * MINUTE),
        ("1d", NOW - 1440 * MINUTE),
        ("1w2d", NOW - 9 * 1440 * MINUTE),
        ("1.5s", NOW - 1_500_000),
        ("250ms", NOW - 250_000),
        ("1700000000", NOW),
        ("1700000000.25", NOW + 250_000),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20", NOW),
        ("2023-11-14 22:13:20.5", NOW + 500_000),
        ("2023-11-15T00:13:20+02:00", NOW),
        ("2023-11-14t22:13:20z", NOW),
        ("2023-11-14", NOW - (22 * 60 + 13) * MINUTE - 20_000_000),
    ],
)
def test_a_time_may_be_written_in_several_ways(text: str, expected: int) -> None:
    """Relative, ISO 8601 (UTC unless it says otherwise), or seconds since 1970."""
    assert parse_time(text, NOW) == expected


@pytest.mark.parametrize(
    "text",
    ["", "soon", "10x", "m", "-5m", "99999999999999999", "2023-13-01", "9" * 5000, "9999999d"],
)
def test_anything_else_is_refused(text: str) -> None:
    """What is no time, or one that no clock shows, is a UsageError with the ways to write one."""
    with pytest.raises(UsageError, match="is not a time") as refused:
        parse_time(text, NOW)
    assert "ISO 8601" in refused.value.advice


@given(moments)
def test_what_is_printed_can_be_typed(moment: int) -> None:
    """The times in answers are accepted by --since and --until, to the microsecond."""
    assert parse_time(iso(moment), NOW) == moment


@given(st.datetimes(datetime(1971, 1, 1), datetime(9998, 1, 1)), zones)
def test_the_offset_of_a_time_counts(when: datetime, zone: timezone) -> None:
    """A time with an offset is the same moment in UTC."""
    there = when.replace(tzinfo=UTC).astimezone(zone)
    assert parse_time(there.isoformat(), NOW) == parse_time(when.isoformat(), NOW)


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_usage_error(text: str) -> None:
    """Nothing that is typed makes another exception."""
    with suppress(UsageError):
        assert parse_time(text, NOW) >= 0


@given(st.integers(0, 10**4), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    """1d2h3m4s is the sum of its parts."""
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    got = duration_us(f"{days}d{hours}h{minutes}m{seconds}s")
    assert timedelta(microseconds=got) == expected


@pytest.mark.parametrize(
    ("length_us", "text"),
    [
        (-1, "0ms"),
        (350_000, "350ms"),
        (12_900_000, "12s"),
        (187_000_000, "3m07s"),
        (7_500_000_000, "2h05m"),
        (356_400_000_000, "4d03h"),
    ],
)
def test_an_age_is_told_in_its_two_largest_units(length_us: int, text: str) -> None:
    """Short enough for a column."""
    assert age(length_us) == text


def test_a_time_for_people_has_no_fraction() -> None:
    """It is UTC, and says so."""
    assert short(NOW + 999_999) == "2023-11-14 22:13:20Z"
