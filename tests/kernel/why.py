"""Writes into docs/why.md: the rules of ``estats why``, and what it says of situations.

``python -m tests.kernel.why docs`` lets every situation take place beside a collector and asks;
what it writes stands between marks, the rest of the page is by hand. It ends with 1 if more than
one in ten is named wrongly.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import run
from typing import Any, Final

from diagnosis.rules import RULES, Rule
from tests.kernel.collecting import HOME, Database, collecting
from tests.kernel.situations import SITUATIONS, Played, Situation, played

Answer = dict[str, Any]  # an object of ``estats why --format json``

INTERVAL: Final = ("--interval", "250ms")
_SIDES: Final = ("sender", "path", "receiver", "pacing")
_WRONG_MAX: Final = 0.1


def ask(database: Database, *options: str) -> list[Answer]:
    """What ``estats why`` answers."""
    argv = [sys.executable, "-m", "estats", "why", "--db", str(database.path), "--format", "json"]
    done = run([*argv, *options], capture_output=True, text=True, cwd=HOME, check=False)
    assert done.returncode == 0, done.stderr
    found: list[Answer] = json.loads(done.stdout)
    return found


def take_place(
    folder: Path, situations: Sequence[Situation] = SITUATIONS
) -> Iterator[tuple[Database, list[Played]]]:
    """Situations, beside one collector; its database is of use until the next step."""
    with collecting(folder, *INTERVAL) as collector:
        done = list(played(situations))
        collector.database.catch_up()
        yield collector.database, done


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """A table of Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def rules_table() -> list[str]:
    """Every rule, in the order in which they are asked."""
    header = ("verdict", "whose time", "measure", "from", "needs", "source")
    return table(header, map(_rule, RULES))


def _rule(rule: Rule) -> tuple[object, ...]:
    return (
        rule.name,
        ", ".join(side.value for side in rule.sides) or "only beside another",
        rule.measured,
        f"{rule.threshold:g}",
        ", ".join(f"`{name}`" for name in rule.needs),
        rule.source,
    )


def results_table(results: Sequence[tuple[Played, Answer]]) -> list[str]:
    """Each situation with what was said of it."""
    header = ("situation", "verdict", "right", *_SIDES, "measure", "also")
    return table(header, (_result(p, answer) for p, answer in results))


def _result(each: Played, answer: Answer) -> tuple[object, ...]:
    measure = answer["measure"]
    return (
        each.situation.name,
        answer["verdict"],
        "yes" if is_right(each, answer) else f"no: {each.situation.verdict}",
        *(_percent(answer[f"share_{side}"]) for side in _SIDES),
        "-" if measure is None else f"{measure:.3g} (from {answer['threshold']:g})",
        ", ".join(dict.fromkeys(a["name"] for a in answer["also"])) or "-",
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def is_right(each: Played, answer: Answer) -> bool:
    """Whether the verdict is what the situation was made for."""
    return bool(answer["verdict"] == each.situation.verdict)


def filled(page: str, parts: Mapping[str, Sequence[str]]) -> str:
    """The page with new lines between the marks of each part."""
    for name, lines in parts.items():
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        assert begin and end, f"the page has no {name}"
        page = "".join([before, begin, "\n", *(f"{line}\n" for line in lines), "\n", end, after])
    return page


def report(results: Sequence[tuple[Played, Answer]]) -> dict[str, list[str]]:
    """What the page has that is not written by hand."""
    right = sum(is_right(each, answer) for each, answer in results)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    said = f"Kernel {os.uname().release}, {when}: {right} of {len(results)} named right."
    sentences = [f"- {p.situation.name}: {a['sentence']}" for p, a in results]
    return {
        "rules": rules_table(),
        "results": [said, "", *results_table(results)],
        "sentences": sentences,
    }


def main(docs: Path) -> int:
    """Write the page; the answer is the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        for database, done in take_place(Path(folder)):
            results = [(each, ask(database, *each.choice)[0]) for each in done]
    page = docs / "why.md"
    page.write_text(filled(page.read_text("utf-8"), report(results)), encoding="utf-8")
    wrong = [each.situation.name for each, answer in results if not is_right(each, answer)]
    print("\n".join(f"named wrongly: {name}" for name in wrong) or "every situation is named right")
    return 1 if len(wrong) > _WRONG_MAX * len(results) else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
