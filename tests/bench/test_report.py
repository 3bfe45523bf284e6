"""The page says what the data say, and is a page that Markdown can show."""

import pytest

from bench.report import Result, Section, figure, page

SECTION = Section(
    title="Speed",
    means="How fast it is.",
    columns=("way", "runs / s"),
    rows=[("on foot", 12_345.6), ("by train", None)],
)


def result(part: str, *, commit: str = "12ab", **machine: str) -> Result:
    """A part's result, of that commit and on that machine."""
    return Result(
        part=part,
        began="2026-11-27 18:13",
        seconds=90.0,
        commit=commit,
        busy="3%",
        machine={"kernel": "6.99", **machine},
        sections=[SECTION],
    )


def test_a_section_becomes_a_table_under_its_sentence() -> None:
    """Text to the left, numbers to the right."""
    text = page([result("speed")])

    assert "## Speed\n\nHow fast it is.\n\n| way | runs / s |\n|---|---:|\n" in text
    assert "| on foot | 12,346 |\n| by train | - |" in text


def test_the_page_says_when_and_of_what_each_part_was_measured() -> None:
    """Where all is of one commit and one machine, nothing else is said."""
    text = page([result("speed"), result("weight")])

    assert "| speed | 2026-11-27 18:13 | 1.50 | 12ab | 3% |\n| weight |" in text
    assert "| kernel | 6.99 |" in text
    assert "Not all" not in text


def test_parts_that_were_not_measured_alike_are_told_apart() -> None:
    """Else a figure would be taken for that of another machine or another program."""
    text = page([result("speed"), result("weight", commit="34cd", kernel="7.0"), result("height")])

    assert "| kernel | 6.99 (speed, height); 7.0 (weight) |" in text
    assert "**Not all parts are of the same commit.**" in text
    assert "**Not all parts were measured on the same: kernel.**" in text


def test_a_fact_that_one_part_lacks_is_not_taken_from_another() -> None:
    """An older result may know less."""
    text = page([result("speed", memory="2 GiB"), result("weight")])

    assert "| memory | 2 GiB (speed); not told (weight) |" in text


def test_a_part_that_was_never_measured_is_named() -> None:
    """A page without it would pass for the whole."""
    assert "**Not measured yet: weight, height.**" in page([result("speed")], ["weight", "height"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), ("a", "a"), (0, "0"), (1234, "1,234"), (99.96, "99.96"), (0.98765, "0.988"),
     (123.4, "123"), (-0.5, "-0.500")],
)  # fmt: skip
def test_a_figure_has_as_many_digits_as_one_can_compare(
    value: str | float | None, text: str
) -> None:
    """More would pretend to know them."""
    assert figure(value) == text


def test_a_row_of_another_length_is_refused() -> None:
    """It would put figures under the heads of others."""
    with pytest.raises(AssertionError):
        Section(title="Speed", means="", columns=("way",), rows=[("on foot", 1)])
