"""A collector whose database fails and whose clock is set, at the word of a test: see shim.c."""

import mmap
import struct
import subprocess
from pathlib import Path
from typing import Final

_WORDS: Final = struct.Struct("=qqq")


class Shim:
    """What the C library says to a collector that is begun with ``environment``."""

    def __init__(self, folder: Path) -> None:
        """Built; all is as ever."""
        library, words = folder / "shim.so", folder / "faults"
        source = Path(__file__).with_name("shim.c")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", library, source], check=True)
        words.write_bytes(bytes(mmap.PAGESIZE))
        self._words = words
        self.environment = {"LD_PRELOAD": str(library), "ESTATS_FAULTS": str(words)}

    def set(self, *, write: int = 0, sync: int = 0, clock_seconds: int = 0) -> None:
        """From now on: an errno for writes and for syncs of the database, and the clock."""
        with self._words.open("r+b") as file:
            file.write(_WORDS.pack(write, sync, clock_seconds))
