"""``estats top`` without a terminal: keys are pressed, and what one would see is read."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from cli.top.looker import Source
from cli.top.screen import TopApp
from cli.top.wish import Wish
from storage.question import Filter

_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Top:
    """The application while it runs."""

    app: TopApp
    pilot: Pilot[Any]

    @property
    def lines(self) -> list[str]:
        """What one sees, line by line."""
        strips = self.app.screen._compositor.render_strips()
        return [strip.text.rstrip() for strip in strips]

    @property
    def text(self) -> str:
        """The same in one piece."""
        return "\n".join(self.lines)

    async def press(self, *keys: str) -> None:
        """Press them one after the other, and wait for the answer."""
        await self.pilot.press(*keys)
        await self.settle()

    async def settle(self) -> None:
        """Until what one sees is what was asked for."""
        while not self.app.is_answered:
            await asyncio.sleep(_POLL_SECONDS)
        await self.pilot.pause()

    async def until(self, words: str) -> None:
        """Until one sees them."""
        while words not in self.text:
            await asyncio.sleep(_POLL_SECONDS)
            await self.pilot.pause()


@asynccontextmanager
async def pressed(
    path: Path, *keys: str, size: tuple[int, int] = (80, 24), seconds: float = 60, **wish: Any
) -> AsyncGenerator[Top]:
    """It looks at a database that nobody writes to, every so many seconds; keys were pressed."""
    source = Source(path, lambda: False)
    async with running(source, size, seconds, **wish) as top:
        if keys:
            await top.press(*keys)
        yield top


@asynccontextmanager
async def running(
    source: Source, size: tuple[int, int], seconds: float, **fields: Any
) -> AsyncGenerator[Top]:
    """It looks at a source; ``fields`` of the wish differ from the usual ones."""
    wish = Wish(
        **{
            "wanted": Filter(is_open=True),
            "chosen": (),
            "window_us": 1_000_000,
            "limit": 200,
            **fields,
        }
    )
    app = TopApp(source, wish, seconds, source.answer(wish.ask), is_unicode=True)
    async with app.run_test(size=size) as pilot:
        top = Top(app, pilot)
        await top.settle()
        yield top
