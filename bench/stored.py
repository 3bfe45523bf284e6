"""The newest result of each part: docs/benchmarks.json, which the page is made from.

A part wants a quiet machine, and one of them an hour: so each is measured when there is time for
it, and the others keep what they have.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.processes import HOME
from bench.report import Result, Section

DATA: Final = HOME / "docs" / "benchmarks.json"


def keep(result: Result, data: Path = DATA) -> None:
    """In place of the part's last result."""
    told = {one["part"]: one for one in _read(data)} | {result.part: asdict(result)}
    new = data.with_suffix(".new")
    new.write_text(json.dumps(list(told.values()), indent=1, ensure_ascii=False) + "\n")
    new.replace(data)


def kept(parts: Sequence[str], data: Path = DATA) -> tuple[list[Result], list[str]]:
    """The results of these parts, in this order, and the parts that have none."""
    told = {one["part"]: one for one in _read(data)}
    return [_result(told[part]) for part in parts if part in told], [
        part for part in parts if part not in told
    ]


def _read(data: Path) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(data.read_text()) if data.exists() else []
    return told


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
