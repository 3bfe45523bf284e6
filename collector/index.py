"""Where the row of a connection is: ids kept in order, so that many are looked up at once."""

from typing import Any

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[Any]
Rows = npt.NDArray[np.intp]


class Index:
    """Rows of connection ids.

    An id is a socket's cookie and the number of its reconnects: unique, but neither dense nor
    small, and a connection may outlive millions of later ones. So there is no table to be
    indexed by them, but a sorted array to be searched. It costs 16 bytes for each connection
    there is and nothing for those that are gone; a change copies it, once for many connections.
    """

    def __init__(self) -> None:
        """An index that knows no id."""
        self._ids: Ids = np.zeros(0, "u8")
        self._rows: Rows = np.zeros(0, np.intp)

    @property
    def nbytes(self) -> int:
        """Memory in use."""
        return self._ids.nbytes + self._rows.nbytes

    def lookup(self, ids: Ids) -> Rows:
        """The row of each id, -1 for an unknown one."""
        if not len(self._ids):
            return np.full(len(ids), -1, np.intp)
        place = np.searchsorted(self._ids, ids)
        place[place == len(self._ids)] = 0  # larger than all: not equal to the first either
        return np.where(self._ids[place] == ids, self._rows[place], -1)

    def assign(self, ids: Ids, rows: Rows) -> None:
        """Give rows to ids that are all different and unknown."""
        order = np.argsort(ids)
        place = np.searchsorted(self._ids, ids[order])
        self._ids = np.insert(self._ids, place, ids[order])
        self._rows = np.insert(self._rows, place, rows[order])

    def move(self, places: Rows) -> None:
        """Row ``r`` of every id is ``places[r]`` from now on."""
        self._rows = places[self._rows]

    def forget(self, ids: Ids) -> None:
        """Make ids that are all different and known unknown."""
        place = np.searchsorted(self._ids, ids)
        self._ids = np.delete(self._ids, place)
        self._rows = np.delete(self._rows, place)
