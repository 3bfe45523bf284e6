"""The page says what the data say, and is a page that Markdown can show."""

import json

import pytest

from bench.report import Result, Section, data, figure, page

SECTION = Section(
    title="Speed",
    means="How fast it is.",
    columns=("way", "runs / s"),
    rows=[("on foot", 12_345.6), ("by train", None)],
)
MACHINE = {"kernel": "6.99"}


def test_a_section_becomes_a_table_under_its_sentence() -> None:
    """Text to the left, numbers to the right."""
    text = page(MACHINE, [Result(part="speed", seconds=1.0, sections=[SECTION])])

    assert "| kernel | 6.99 |" in text
    assert "## Speed\n\nHow fast it is.\n\n| way | runs / s |\n|---|---:|\n" in text
    assert "| on foot | 12,346 |\n| by train | - |" in text


def test_a_part_that_ended_early_says_so() -> None:
    """A table that is missing without a word would be taken for one that nobody thought of."""
    text = page(MACHINE, [Result(part="speed", seconds=1.0, sections=[], failure="no wheels")])

    assert "This part ended early: no wheels" in text


def test_the_data_have_every_figure_unrounded() -> None:
    """Whoever computes with them rounds last."""
    told = json.loads(data(MACHINE, [Result(part="speed", seconds=1.0, sections=[SECTION])]))

    assert told["machine"] == MACHINE
    assert told["parts"][0]["sections"][0]["rows"] == [["on foot", 12_345.6], ["by train", None]]


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
