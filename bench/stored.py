"""The newest result of each part, kept until all of them make a page.

A part wants a quiet machine, and one of them an hour: so each is measured when there is time for
it, and may be carried here as a file from another tree.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.processes import HOME
from bench.report import Result, Section

FOLDER: Final = HOME / "build" / "bench"


def keep(result: Result, folder: Path = FOLDER) -> None:
    """In place of the part's last result."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".{result.part}.json"
    new.write_text(json.dumps(asdict(result), indent=1, ensure_ascii=False) + "\n")
    new.replace(folder / f"{result.part}.json")


def kept(parts: Sequence[str], folder: Path = FOLDER) -> tuple[list[Result], list[str]]:
    """The results of these parts, in this order, and the parts that have none."""
    paths = {part: folder / f"{part}.json" for part in parts}
    found = [_result(json.loads(path.read_text())) for path in paths.values() if path.exists()]
    return found, [part for part, path in paths.items() if not path.exists()]


def _result(told: dict[str, Any]) -> Result:
    sections = [
        Section(
            title=section["title"],
            means=section["means"],
            columns=tuple(section["columns"]),
            rows=[tuple(row) for row in section["rows"]],
        )
        for section in told.pop("sections")
    ]
    return Result(**told, sections=sections)
