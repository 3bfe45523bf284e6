"""Unsigned 64-bit values in SQLite's signed 64-bit integers: the same bits, decided only here.

A value of 2^63 or more is stored as the negative number with the same bits (two's complement), so
nothing is rounded, clipped or turned into text. Values below 2^63, which is all but a few counters
in practice, are stored as themselves. In SQL the unsigned value is

    printf('%u', HCDataOctetsOut)

as text; ``HCDataOctetsOut & 4294967295`` and differences modulo 2^64 need no such care.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


def encode(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """What to store: the same memory, read as signed (dtype ``u8`` becomes ``i8``)."""
    assert values.dtype == np.uint64, "only unsigned 64-bit columns are encoded"
    return values.view(np.int64)


def decode(stored: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """What was meant: signed integers out of SQLite, no NULL among them, as ``u8``."""
    signed: npt.NDArray[Any] = np.asarray(stored, dtype=np.int64)
    return signed.view(np.uint64)
