"""The pictures in the docs are those that the present program gives."""

import re
from html import unescape
from pathlib import Path

import pytest

from tests.pictures import top

KEPT = Path(__file__).resolve().parent.parent / "docs" / "pictures"


def _words(picture: Path) -> str:
    """The text of a picture; how it is drawn may change with the library that does."""
    found = re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text(encoding="utf-8"))
    return unescape("\n".join(found)).replace("\xa0", " ")


def test_what_the_docs_show_of_top_is_what_it_shows(tmp_path: Path) -> None:
    """``make pictures`` was called after the last change."""
    top.write(tmp_path)
    made = {path.name: _words(path) for path in tmp_path.glob("*.svg")}
    assert made and all(made.values())
    assert made == {path.name: _words(path) for path in KEPT.glob("top-*.svg")}


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_needs_nothing_from_elsewhere(path: Path) -> None:
    """No fonts or scripts are fetched by whoever reads the docs."""
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"url\(\"?https?:|<script|href=\"(?!#)", text)
