"""Any text on the command line gives a value or a UsageError, and is never SQL."""

import io
import json
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st

from bpf.errors import UsageError
from bpf.filters import Filters, c_source, parse_net
from cli import choice, collect, names, times
from cli.app import run as run_estats
from tests.cli.story import write_story
from tests.fuzz.examples import fuzzed

NOW = 1_700_000_000_000_000

PARSERS: dict[str, Callable[[str], Any]] = {
    "time": lambda text: times.iso(times.parse_time(text, NOW)),
    "duration": times.duration_us,
    "length": lambda text: collect._length(text, "--interval"),
    "share": collect._share_of_cpu,
    "tables": collect.chosen_tables,
    "group": collect._group_id,
    "net": parse_net,
    "nets": lambda text: choice.nets([text]),
    "address": lambda text: choice.addresses([text], "--saddr"),
    "ports": lambda text: choice.ports([text], "--dport"),
    "comm": lambda text: choice.process_names([text]),
    "sort": choice.sort_order,
    "state": lambda text: names.state_numbers([text]),
    "variables": lambda text: names.variables_of_connections([text]),
    "of listeners": lambda text: names.variables_of_listeners([text]),
    "filter": lambda text: c_source(Filters(comms=(text,))),
    "filtered net": lambda text: c_source(Filters(nets=(parse_net(text),))),
}

#: Without NUL, which no argument can hold; with octets that are not UTF-8, as Python spells them.
texts = (
    st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=12).map(lambda octets: os.fsdecode(octets.replace(b"\0", b"")))
    | st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,20})?(ms|[wdhms])?([0-9]{1,3}[wdhms])?", fullmatch=True)
    | st.from_regex(r"[0-9]{4,5}(-?[0-9]{2}){2}[T ]?[0-9:]{0,8}[Z+-]?[0-9:.]{0,9}", fullmatch=True)
    | st.from_regex(r"[0-9a-fA-F:.]{1,30}(%[a-z0-9]{1,5})?(/-?[0-9]{1,4})?", fullmatch=True)
    | st.from_regex(r"-?[A-Za-z*?\[\]!,]{1,20}", fullmatch=True)
    | st.sampled_from(["' OR 1=1 --", '"; DROP TABLE run; --', "%s", "%", "{}", "9" * 5000])
    | st.sampled_from(["*" * 300, "1" * 400 + "w", "0001-01-01T00:00+23:59", "9999-12-31T23-23:59"])
)  # fmt: skip


@pytest.mark.parametrize("parser", PARSERS)
@fuzzed
@example("0001-01-01T00:00+23:59")
@example("9999-12-31T23:59:59.9-23:59")
@example("1" * 5000)
@example("٣" * 3)
@example("::ffff:1.2.3.4%x/100")
@example("\udcff")
@given(texts)
def test_any_text_is_a_value_or_a_usage_error(parser: str, text: str) -> None:
    """Of whatever it is asked to be."""
    try:
        PARSERS[parser](text)
    except UsageError:
        event("refused")


@cache
def story() -> Path:
    """The story, in a folder that stays as long as these tests."""
    folder = _FOLDERS.setdefault("story", TemporaryDirectory())
    path = Path(folder.name) / "flows.db"
    write_story(path)
    return path


_FOLDERS: dict[str, TemporaryDirectory[str]] = {}

OPTIONS = (
    *("--comm", "--var", "--sort", "--net", "--saddr", "--daddr", "--sport", "--dport", "--state"),
    *("--since", "--until", "--pid", "--limit"),
)


@fuzzed
@example([("--pid", "99999999999999999999")], "csv")
@example([("--limit", "99999999999999999999")], "csv")
@example([("--comm", "\udcff")], "csv")
@example([("--comm", "a*" * 40_000)], "csv")
@example([("--sport", ",".join(f"{n}-{n + 1}" for n in range(1, 6000, 3)))], "csv")
@given(
    st.lists(st.tuples(st.sampled_from(OPTIONS), texts), min_size=1, max_size=3),
    st.sampled_from(["table", "json", "ndjson", "csv"]),
)
def test_no_option_is_anything_but_text(options: list[tuple[str, str]], form: str) -> None:
    """Every command ends well or as a bad question does; the database is as it was."""
    before = story().read_bytes()
    arguments = [f"{name}={text}" for name, text in options]
    lacking = {"query": (), "connections": ("--var",), "why": ("--var", "--sort")}
    for command, lacks in lacking.items():
        usable = [a for a in arguments if not a.startswith(lacks)]
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run_estats([command, "--db", str(story()), "--format", form, *usable])
        event(f"{command} {code}")
        assert code in (0, 2), err.getvalue()
        assert out.getvalue().replace("\n", "").isprintable()
    assert story().read_bytes() == before


@fuzzed
@example("[i]perf")
@example("ip'erf*")
@given(st.text(alphabet="iperfsh*?[]'\"-\\\x1b%_", min_size=1, max_size=10))
def test_a_pattern_finds_what_it_says(pattern: str) -> None:
    """Only * and ? stand for others; all else is itself."""
    arguments = ["query", "--db", str(story()), "--format", "json", f"--comm={pattern}"]
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        assert run_estats(arguments) == 0
    spelled = pattern.replace("\x1b", "\\x1b").strip()
    found = {each["comm"] for each in json.loads(out.getvalue())}
    named = {"iperf", "sshd", "\\x1b]0;owned\\x07"}
    assert found == {name for name in named if not spelled or _matches(spelled, name)}


def _matches(pattern: str, name: str) -> bool:
    """Wildcards, the plain way."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(_matches(pattern[1:], name[i:]) for i in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and _matches(pattern[1:], name[1:])


@fuzzed
@given(
    st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20), max_size=8)
)
def test_any_statement_ends_in_a_sentence(words: list[str]) -> None:
    """Of ``estats sql``: an answer, or what is wrong with it on one line; nothing is changed."""
    before = story().read_bytes()
    statement = " ".join(["SELECT", *words])
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run_estats(["sql", "--db", str(story()), "--", statement])
    assert code in (0, 2)
    assert (out.getvalue() + err.getvalue()).replace("\n", "").isprintable()
    assert story().read_bytes() == before
