"""Pictures of ``estats top``: the list, wide and narrow, a connection's page, and a filter."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.cli.story import at
from tests.pictures.traffic import SECONDS, write_traffic
from tests.top import pressed

#: The name of each picture, the size of the terminal, and the keys that lead there.
_PICTURES: Final[Sequence[tuple[str, tuple[int, int], Sequence[str]]]] = (
    ("top-list", (80, 24), ()),
    ("top-wide", (150, 16), ("down",)),
    ("top-connection", (80, 24), ("enter",)),
    ("top-filter", (80, 24), ("slash", *"nginx")),
)


#: The fonts that Rich would have fetched from elsewhere.
_FONTS: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def write(folder: Path) -> None:
    """Write them as SVG."""
    with TemporaryDirectory(prefix="estats-pictures-") as made:
        path = Path(made) / "flows.db"
        write_traffic(path)
        for name, size, keys in _PICTURES:
            text = asyncio.run(_drawn(path, size, keys))
            (folder / f"{name}.svg").write_text(text, encoding="utf-8")


async def _drawn(path: Path, size: tuple[int, int], keys: Sequence[str]) -> str:
    # Time stands, or the picture would say how long ago it is.
    async with pressed(path, *keys, size=size, at_us=at(SECONDS - 1)) as top:
        drawn = top.app.export_screenshot(title="estats top", simplify=True)
    return _FONTS.sub("", drawn).replace("Fira Code, monospace", "monospace")
