"""A page of the manual in the man macros of troff."""

from collections.abc import Iterable, Iterator
from typing import Final

from cli.exit_codes import EXIT_CODES
from cli.outline import Page, Row

_SPECIAL: Final = str.maketrans(
    {
        "\\": "\\e",
        "-": "\\-",  # a minus: what is copied from the page can be typed
        "'": "\\(aq",
        "`": "\\(ga",
        "^": "\\(ha",
        "~": "\\(ti",
        "\N{EN DASH}": "\\(en",
        "\N{MICRO SIGN}": "\\(mc",
    }
)


def man_page(
    page: Page, others: Iterable[Page], notice: str, more: Iterable[tuple[str, str]]
) -> str:
    """The page; ``others`` are those to see also, ``more`` what belongs to the program as such."""
    name = _escaped("-".join(page.words))
    lines = [
        f'.\\" {notice}',
        f'.TH {name.upper()} 1 "" "estats" "User Commands"',
        ".SH NAME",
        f"{name} \\- {_escaped(page.summary)}",
        ".SH SYNOPSIS",
        _bold(page.usage, len(page.name)),
        ".SH DESCRIPTION",
        *_text(page.paragraphs),
        *_section("ARGUMENTS", page.arguments),
        *_section("OPTIONS", page.options),
        *_section("COMMANDS", page.commands),
        *_examples(page.closing),
        *_section("EXIT STATUS", [Row(str(code), text) for code, text in EXIT_CODES.items()]),
    ]
    for heading, text in more:
        lines += [f".SH {heading}", _escaped(text)]
    also = ", ".join(f"\\fB{_escaped('-'.join(each.words))}\\fR(1)" for each in others)
    return "\n".join([*lines, ".SH SEE ALSO", also, ""])


def _text(paragraphs: Iterable[str]) -> Iterator[str]:
    for number, each in enumerate(paragraphs):
        if number:
            yield ".PP"
        yield from _verbatim(each.splitlines()) if "\n" in each else [_escaped(each)]


def _verbatim(lines: Iterable[str]) -> Iterator[str]:
    yield from (".nf", *map(_escaped, lines), ".fi")


def _section(heading: str, rows: Iterable[Row]) -> Iterator[str]:
    listed = list(rows)
    if listed:
        yield f".SH {heading}"
    for row in listed:
        yield from (".TP", _option(row.name), _escaped(row.text) or "\\&")


def _examples(closing: Iterable[str]) -> Iterator[str]:
    """The end of a help text, but the exit codes, which have a section of their own."""
    for each in closing:
        head, *lines = each.splitlines()
        if head == "Examples:":
            yield ".SH EXAMPLES"
            yield from _verbatim(line.removeprefix("  ") for line in lines)


def _option(name: str) -> str:
    """Words that are typed are bold, those that stand for others are slanted."""
    words = (
        f"\\fB{_escaped(word)}\\fR"
        if word.startswith("-") or word.islower()
        else f"\\fI{_escaped(word)}\\fR"
        for word in name.split(" ")
    )
    return " ".join(words)


def _bold(text: str, until: int) -> str:
    return f"\\fB{_escaped(text[:until])}\\fR{_escaped(text[until:])}"


def _escaped(text: str) -> str:
    """Text that troff takes as it is; a point or quote that begins a line is a request."""
    plain = text.translate(_SPECIAL)
    return f"\\&{plain}" if plain.startswith((".", "\\(aq")) else plain
