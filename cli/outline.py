"""The command line as plain data, from which its pages are made: the words are those of --help."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer


@dataclass(frozen=True, slots=True)
class Row:
    """An option or argument: how it is written, and what the help says."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Page:
    """A command: its words, and what its help has. A paragraph of several lines stays as it is."""

    words: tuple[str, ...]
    summary: str
    usage: str
    paragraphs: tuple[str, ...]
    arguments: tuple[Row, ...]
    options: tuple[Row, ...]
    commands: tuple[Row, ...]
    closing: tuple[str, ...]

    @property
    def name(self) -> str:
        """The command as it is typed."""
        return " ".join(self.words)


def outline(app: typer.Typer) -> list[Page]:
    """A page for the program, and one for each of its commands, those of a group behind it."""
    return list(_pages(typer.main.get_command(app), ("estats",), None))


def _pages(command: Any, words: tuple[str, ...], parent: Any) -> Iterator[Page]:
    context = command.make_context(words[-1], [], parent=parent, resilient_parsing=True)
    listed: dict[str, Any] = getattr(command, "commands", {})
    children = {name: child for name, child in listed.items() if not child.hidden}
    paragraphs = _paragraphs(command.help)
    yield Page(
        words=words,
        summary=(command.short_help or paragraphs[0].partition(". ")[0]).rstrip("."),
        usage=" ".join([*words, *command.collect_usage_pieces(context)]),
        paragraphs=paragraphs,
        arguments=_rows(command, context, "argument"),
        options=_rows(command, context, "option"),
        commands=tuple(Row(name, child.get_short_help_str(80)) for name, child in children.items()),
        closing=_paragraphs(command.epilog),
    )
    for name, child in children.items():
        yield from _pages(child, (*words, name), context)


def _rows(command: Any, context: Any, kind: str) -> tuple[Row, ...]:
    found = (p for p in command.get_params(context) if p.param_type_name == kind)
    records = (record for p in found if (record := p.get_help_record(context)) is not None)
    return tuple(Row(name, " ".join(text.split())) for name, text in records)


def _paragraphs(text: str | None) -> tuple[str, ...]:
    r"""Of a help text: those that begin with \b keep their lines, others are one line each."""
    found = inspect.cleandoc(text or "").split("\n\n")
    return tuple(
        part.removeprefix("\b\n").rstrip() if part.startswith("\b") else " ".join(part.split())
        for part in found
        if part.strip()
    )
