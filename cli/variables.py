"""estats variables: the catalogue, to look a variable up before asking for it."""

import sys
from textwrap import wrap
from typing import Annotated, Any, Final

import typer

from bpf.catalogue import CATALOGUE
from bpf.variable import SAMPLED, Status, Table, Variable
from cli import complete
from cli.names import matching, value_words
from cli.render import Format, Look, say, table_width, write

HELP: Final = """The variables: what each means, its unit, and whether it is collected.

With NAME (any case, * and ?, or the RFC's object name) everything that is known of them: what
they are read from, how exact they are and why, and the fields of TCP_INFO that say the same.
"""
EXAMPLES: Final = """\b
Examples:
  estats variables SegsRetrans
  estats variables '*rtt*'
  estats variables --table stack --status collected
"""

_VIEWS: Final = {
    **dict.fromkeys((Table.CONNECTION, *SAMPLED), "latest"),
    Table.LISTENER: "latest_listener",
}

Name = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        help="Variables.",
        autocompletion=complete.all_variables,
        show_default=False,
    ),
]
InTable = Annotated[
    Table | None, typer.Option("--table", help="Only those of one table.", show_default=False)
]
WithStatus = Annotated[
    Status | None, typer.Option("--status", help="Only those.", show_default=False)
]
As = Annotated[Format, typer.Option("--format", help="How to write them.")]


def variables(
    names: Name = None,
    *,
    table: InTable = None,
    status: WithStatus = None,
    form: As = Format.TABLE,
) -> None:
    """Print the catalogue; HELP says all of it."""
    named = [v for name in names or () for v in matching(name)] or CATALOGUE
    found = [
        v
        for v in dict.fromkeys(named)
        if (table is None or v.table is table) and (status is None or v.status is status)
    ]
    if form is Format.TABLE and names:
        for number, v in enumerate(found):
            print(("\n" if number else "") + _described(v))
        count = len(found)
    else:
        count = write(found, form, _LOOK, sys.stdout)
    if not count:
        say("no variable matches")


def _detail(v: Variable) -> dict[str, Any]:
    """All that is known of a variable; None where there is nothing to say."""
    how_exact, _, why = v.exactness.partition(": ")
    view = _VIEWS.get(v.table)
    return {
        "name": v.name,
        "summary": v.summary,
        "table": v.table.value,
        "rfc_object": v.rfc,
        "web10g": v.web10g,
        "type": v.syntax,
        "bits": v.bits,
        "unit": v.unit or None,
        "values": " ".join(f"{n}={word}" for n, word in value_words(v).items()) or None,
        "kind": v.kind.value,
        "status": v.status.value,
        "exactness": how_exact,
        "why": why or None,
        "source": v.source,
        "derived_from": v.derived,
        "tcp_info": v.tcp_info,
        "sql": f"{v.table.value}.{v.name}" + (f", {view}.{v.name}" if view else ""),
    }


def _described(v: Variable) -> str:
    """The same for a person: a line for each thing that there is to say."""
    lines = [v.name]
    for key, value in _detail(v).items():
        if value in (None, False) or key == "name":
            continue
        label = f"  {key.replace('_', ' ')}"
        lines += wrap(
            "yes" if value is True else str(value),
            max(table_width(sys.stdout) or 100, 40),
            initial_indent=f"{label:16}",
            subsequent_indent=" " * 16,
            break_long_words=False,
        )
    return "\n".join(lines)


def _meaning(v: Variable) -> str:
    return f"{v.summary} [{v.unit}]" if v.unit else v.summary


_LOOK: Final[Look[Variable]] = Look(
    keys=tuple(_detail(CATALOGUE[0])),
    as_object=_detail,
    header=("Name", "Table", "Status", "Meaning [unit]"),
    as_row=lambda v: (v.name, v.table.value, v.status.value, _meaning(v)),
)
