"""--format is the same option of every command that prints a table, and each form can be read."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.app import application
from cli.render import Format
from tests.cli.conftest import Estats

#: How each is called so that it finds something; ``{db}`` is the database.
CALLS = {
    "status": ["--db", "{db}"],
    "query": ["--db", "{db}"],
    "connections": ["--db", "{db}"],
    "listeners": ["--db", "{db}"],
    "read": ["1", "--db", "{db}"],
    "watch": ["--db", "{db}", "--since", "2023-11-14", "--count", "1", "--interval", "1s"],
    "deltas": ["1", "--db", "{db}"],
    "why": ["--db", "{db}"],
    "sql": ["SELECT * FROM run", "--db", "{db}"],
    "replay": ["{db}"],
    "variables": ["Segs*"],
    "db info": ["--db", "{db}"],
}
#: Of collect it is about the stream, in which there is no table; the others print words or draw.
OTHERS = {"collect", "doctor", "plot", "record", "top", "db upgrade", "db check", "db compact"}
#: It takes live sockets to have an answer: tests/kernel/test_tune.py reads that.
CHANGES_SOCKETS = {"tune"}


def _commands() -> dict[str, Any]:
    top: dict[str, Any] = vars(typer.main.get_command(application()))["commands"]
    return {
        " ".join(words): command
        for name, each in top.items()
        for words, command in (
            [((name, sub), child) for sub, child in each.commands.items()]
            if hasattr(each, "commands")
            else [((name,), each)]
        )
    }


@pytest.mark.parametrize("command", sorted(set(_commands()) - OTHERS))
def test_every_table_has_the_same_option(command: str) -> None:
    """With the same forms, and the table if nothing is said; a new command is here or in OTHERS."""
    each = _commands()[command]
    (option,) = (p for p in each.params if "--format" in p.opts)
    context = each.make_context(command, [], resilient_parsing=True)

    assert option.default in (Format.TABLE, Format.TABLE.value)
    assert "table|json|ndjson|csv" in option.get_help_record(context)[0]
    assert command in CALLS.keys() | CHANGES_SOCKETS


@pytest.mark.parametrize("command", CALLS)
def test_each_form_can_be_read(estats: Estats, story: Path, command: str) -> None:
    """JSON is one list, NDJSON an object a line with the same keys, CSV as many cells a line."""
    words = [*command.split(" "), *(word.format(db=story) for word in CALLS[command])]
    said = {form: estats(*words, "--format", form.value) for form in Format}
    assert {answer.code for answer in said.values()} <= ({7} if command == "status" else {0})
    whole = json.loads(said[Format.JSON].out)
    lines = [json.loads(line) for line in said[Format.NDJSON].out.splitlines()]
    head, *rows = list(csv.reader(io.StringIO(said[Format.CSV].out)))

    assert isinstance(whole, list)
    assert [list(each) for each in whole] == [list(each) for each in lines]
    assert head and all(len(row) == len(head) for row in rows)
    assert bool(whole) == bool(rows) == (command != "listeners")
