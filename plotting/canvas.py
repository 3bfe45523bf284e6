"""A grid of characters to draw curves on: dots of braille, or a letter for each curve."""

from dataclasses import dataclass, field
from typing import Final

#: The bit of each of a character's dots, by column and row: Unicode's Braille Patterns.
_DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BRAILLE: Final = 0x2800
#: Beginnings of SGR sequences of the terminal's own palette; the last one ends them.
_COLOURS: Final = ("34", "33", "32", "35", "36", "31", "37")
LETTERS: Final = "*o+x#@%"


@dataclass(slots=True)
class Canvas:
    """``width`` times ``height`` characters; a point is given as shares of both, 0 to 1.

    ``dots``: with braille, which has two by four points in a character. Else each curve has a
    letter of its own, and so many points as characters.
    """

    width: int
    height: int
    dots: bool
    _bits: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])
    _owner: dict[tuple[int, int], int] = field(default_factory=dict[tuple[int, int], int])

    @property
    def columns(self) -> int:
        """How many points it has side by side."""
        return self.width * (2 if self.dots else 1)

    @property
    def rows(self) -> int:
        """How many points it has above one another."""
        return self.height * (4 if self.dots else 1)

    def point(self, column: int, row: int, curve: int) -> None:
        """Set one point; row 0 is the lowest."""
        row = self.rows - 1 - row
        if self.dots:
            cell = column // 2, row // 4
            bit = _DOTS[column % 2][row % 4]
            self._bits[cell] = self._bits.get(cell, 0) | bit
        else:
            cell = column, row
        self._owner[cell] = curve

    def line(self, begin: tuple[float, float], end: tuple[float, float], curve: int) -> None:
        """A level or an upright line between two points."""
        (x0, y0), (x1, y1) = (self._place(*begin), self._place(*end))
        if x0 == x1:
            for row in range(min(y0, y1), max(y0, y1) + 1):
                self.point(x0, row, curve)
        else:
            for column in range(min(x0, x1), max(x0, x1) + 1):
                self.point(column, y0, curve)

    def write(self, *, colour: bool) -> list[str]:
        """Its lines from the top; colours are of curves."""
        return [
            "".join(self._cell(x, y, colour=colour) for x in range(self.width)).rstrip()
            for y in range(self.height)
        ]

    def _place(self, x: float, y: float) -> tuple[int, int]:
        return (
            min(max(int(x * self.columns), 0), self.columns - 1),
            min(max(round(y * (self.rows - 1)), 0), self.rows - 1),
        )

    def _cell(self, x: int, y: int, *, colour: bool) -> str:
        owner = self._owner.get((x, y))
        if owner is None:
            return " "
        text = chr(_BRAILLE + self._bits[x, y]) if self.dots else LETTERS[owner % len(LETTERS)]
        return painted(text, owner) if colour else text


def painted(text: str, curve: int) -> str:
    """A text in the colour of a curve."""
    return f"\x1b[{_COLOURS[curve % len(_COLOURS)]}m{text}\x1b[0m"
