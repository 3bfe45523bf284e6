"""docs/security.md: every sentence has its tests, and they are there."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
CLAIM = re.compile(r"(?P<sentence>.+?)\s\[(?P<tests>test_\w+(?:, test_\w+)*)\]", re.DOTALL)


def claims() -> list[str]:
    """The items of all lists, each in one line."""
    items = re.findall(r"^- (.*?)(?=^- |^#|\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return [" ".join(item.split()) for item in items]


@cache
def names_of_tests() -> frozenset[str]:
    """The names of all tests."""
    return frozenset(
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("claim", claims())
def test_every_sentence_has_tests(claim: str) -> None:
    """One sentence, and behind it the tests that hold it."""
    found = CLAIM.fullmatch(claim)
    assert found, claim
    assert re.findall(r"[.!?](?= |$)", found["sentence"]) == ["."], "one sentence"
    assert set(found["tests"].split(", ")) <= names_of_tests()


def test_the_page_says_nothing_outside_its_lists() -> None:
    """But for headings, and the paragraph that says how the page is made."""
    rest = re.sub(r"^- .*?(?=^- |^#|\Z)", "", PAGE, flags=re.DOTALL | re.MULTILINE)
    paragraphs = [p for p in rest.split("\n\n") if p.strip() and not p.startswith("#")]
    assert len(paragraphs) == 1 and "tests/test_security.py" in paragraphs[0]
