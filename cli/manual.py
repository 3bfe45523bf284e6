"""Writes what is made from the command line: manual pages, reference, configuration, exit codes.

``python -m cli.manual`` writes what is stale; with ``--check`` it writes nothing, names it and
leaves with 1. Pages that people write have the made part between two marks.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import typer

from bpf.generate import markdown_table, stale
from cli.app import application
from cli.configuration import NO_FILE, PREFIX, SECTION, SYSTEM_FILE, options
from cli.exit_codes import EXIT_CODES
from cli.outline import Page, Row, outline
from cli.roff import man_page

_PROJECT: Final = Path(__file__).resolve().parent.parent
MAN: Final = _PROJECT / "packaging" / "man" / "man1"
REFERENCE: Final = _PROJECT / "docs" / "commands.md"
CONFIGURATION: Final = _PROJECT / "docs" / "configuration.md"
COLLECTING: Final = _PROJECT / "docs" / "collecting.md"
EXAMPLE: Final = _PROJECT / "packaging" / "estats.toml"

_NOTICE: Final = "Made by `python -m cli.manual` from the command line: edit cli/."
_END: Final = "<!-- end -->"
#: What an option without a default may be, by what stands for its value, or by its own name.
_VALUES: Final = {
    "FILE": '"/var/lib/estats/rings.estats"',
    "db": '"/var/lib/estats/flows.db"',
    "TIME": '"10m"',
    "PORT": "[80, 443]",
    "CIDR": '["10.0.0.0/8", "fd00::/8"]',
    "PID": "[1]",
    "NAME": '["nginx", "sshd"]',
    "N": "4",
    "USER": '"estats"',
    "GROUP": '"estats"',
    "SHARE": '"2%"',
    "AGE": '"90d"',
    "STEP:AGE,...": '"1m:7d,1h:90d"',
    "SIZE": '"10GB"',
    "-": '"-"',
}
_OF_THE_PROGRAM: Final = (
    (
        "ENVIRONMENT",
        "ESTATS_DB names the database. ESTATS_CONFIG names the configuration file of estats"
        f" collect, and {PREFIX} followed by the name of one of its options, as in {PREFIX}KEEP,"
        " is that option. NO_COLOR, if it is not empty, keeps colours away.",
    ),
    (
        "FILES",
        f"/var/lib/estats/flows.db is the database of the service, {SYSTEM_FILE} its configuration,"
        " /var/cache/estats what it has compiled.",
    ),
)


def products() -> dict[Path, str]:
    """What each generated file must hold."""
    pages = outline(application())
    codes = markdown_table(("code", "meaning"), ((str(n), text) for n, text in EXIT_CODES.items()))
    return {
        **{MAN / f"{'-'.join(page.words)}.1": _man(page, pages) for page in pages},
        REFERENCE: "\n".join(_reference(pages)),
        EXAMPLE: "\n".join(_example()),
        CONFIGURATION: _between(CONFIGURATION, "options", _configuration()),
        COLLECTING: _between(COLLECTING, "exit codes", codes),
    }


def _man(page: Page, pages: Iterable[Page]) -> str:
    """The program's page leads to all others, a command's to the one above it and to its own."""
    near = [
        each for each in pages if each.words == page.words[:-1] or each.words[:-1] == page.words
    ]
    return man_page(page, near or pages, _NOTICE, _OF_THE_PROGRAM if len(page.words) == 1 else ())


def _between(path: Path, mark: str, lines: Iterable[str]) -> str:
    """The page with other lines between its marks."""
    head, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- {mark} -->\n")
    _, end, tail = rest.partition(_END)
    assert begin and end, f"{path} has the marks of {mark}"
    return "\n".join([f"{head}{begin}", *lines, "", f"{end}{tail}"])


def _reference(pages: Iterable[Page]) -> Iterator[str]:
    yield from ("# The commands", "", f"<!-- {_NOTICE} -->", "")
    yield "What `--help` says of each command. [query.md](query.md) tells how to ask,"
    yield "[collecting.md](collecting.md) how to collect."
    for page in pages:
        yield from ("", f"## {page.name}", "", f"    {page.usage}")
        for each in page.paragraphs:
            yield from ("", _prose(each))
        rows = (*page.arguments, *page.options)
        yield from ("", *markdown_table(("option", "meaning"), map(_cells, rows)))
        if page.commands:
            yield from ("", *markdown_table(("command", "does"), map(_cells, page.commands)))
        for each in page.closing:
            head, *lines = each.splitlines()
            yield from ("", head, "", *(f"    {line.removeprefix('  ')}" for line in lines))
    yield ""


def _cells(row: Row) -> tuple[str, str]:
    return f"`{row.name}`", _prose(row.text)


def _prose(text: str) -> str:
    """Text in which Markdown finds nothing but code."""
    parts = text.split("`")
    for n in range(0, len(parts), 2):
        for sign in "*_<[":
            parts[n] = parts[n].replace(sign, f"\\{sign}")
    return "`".join(parts)


def _collect() -> Iterator[tuple[str, Any, str]]:
    """Each option of ``estats collect`` that may be configured, its name, and its help."""
    (page,) = (each for each in outline(application()) if each.words == ("estats", "collect"))
    command = vars(typer.main.get_command(application()))["commands"]["collect"]
    texts = {row.name.split(" ")[0].removeprefix("--"): row.text for row in page.options}
    for key, option in options(command).items():
        if key != "config":
            yield key, option, texts[key]


def _configuration() -> Iterator[str]:
    rows = (
        (
            f"`{key}`",
            f"`{option.envvar if isinstance(option.envvar, str) else option.envvar[0]}`",
            f"`{_value(key, option)}`",
            "one or a list" if option.multiple else "one",
        )
        for key, option, _ in _collect()
    )
    return markdown_table(("key, and option", "variable", "for example", "values"), rows)


def _example() -> Iterator[str]:
    yield f"# {SYSTEM_FILE}: what `estats collect` does if nothing else says otherwise."
    yield f"# {_NOTICE}"
    yield "# Every option is here, with its default or an example: what is to hold loses its #."
    yield f"# `estats collect --config {NO_FILE}` reads no file."
    yield from ("", f"[{SECTION}]")
    for key, option, text in _collect():
        yield from ("", *_comment(text), f"#{key} = {_value(key, option)}")
    yield ""


def _comment(text: str) -> Iterator[str]:
    line = "#"
    for word in text.split(" "):
        if len(line) + len(word) > 98:
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _value(key: str, option: Any) -> str:
    """The default in TOML, or an example where there is none."""
    default = getattr(option.default, "value", option.default)
    if default is not None:
        return str(default) if isinstance(default, int) else f'"{default}"'
    return _VALUES.get(key) or _VALUES.get(option.metavar, f'"{option.metavar}"')


def main(arguments: list[str] | None = None) -> int:
    """Write what is stale, or name it; leave with 1 if ``--check`` found something."""
    parser = argparse.ArgumentParser(prog="python -m cli.manual")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    check = parser.parse_args(arguments).check
    wanted = products()
    unasked = [path for path in MAN.glob("*.1") if path not in wanted]
    for path in (*stale(wanted), *unasked):
        if check:
            print(f"{path} is stale: run `python -m cli.manual`", file=sys.stderr)
        elif path in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], encoding="utf-8")
            print(f"wrote {path}")
        else:
            path.unlink()
            print(f"removed {path}")
    return 1 if check and (stale(wanted) or unasked) else 0


if __name__ == "__main__":
    sys.exit(main())
