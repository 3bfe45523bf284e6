"""Answers as columns of numpy arrays, for notebooks: ``Reader.frame`` makes them.

Nothing here needs pandas or polars: who has one of them gets its frame by a call.
"""

import difflib
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpf.catalogue import BY_NAME
from bpf.errors import UsageError
from bpf.variable import SAMPLED, Table, Variable
from storage.question import Sample

Column = np.ma.MaskedArray[Any, np.dtype[Any]]

_TIME: Final = "datetime64[us]"
_TEXT: Final = "object"
#: Whose a row is: columns of every frame, with their dtypes and columns of ``connection``.
_WHOSE: Final = {
    "ConnectIndex": ("uint64", "ConnectIndex"),
    "LocalAddress": (_TEXT, "LocalAddress"),
    "LocalPort": ("uint16", "LocalPort"),
    "RemAddress": (_TEXT, "RemAddress"),
    "RemPort": ("uint16", "RemPort"),
    "pid": ("uint32", "pid"),
    "comm": (_TEXT, "comm"),
    "opened": (_TIME, "opened_us"),
    "closed": (_TIME, "closed_us"),
}


class Frame(dict[str, Column]):
    """Columns of one length by their names; what is unknown is masked.

    Variables have the dtype that the catalogue says, ``uint64`` for 64-bit counters, of which no
    bit is lost; times are ``datetime64[us]`` in UTC; texts are objects.
    """

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``: UInt64 and its like with NA, strings, times with UTC."""
        pd = import_module("pandas")

        def series(column: Column) -> Any:
            if column.dtype.kind == "M":
                return pd.Series(_moments(column)).dt.tz_localize("UTC")
            if column.dtype.kind == "O":
                return pd.array(column.tolist(), dtype="string")
            return pd.arrays.IntegerArray(column.data, column.mask)

        return pd.DataFrame({name: series(column) for name, column in self.items()})

    def to_polars(self) -> Any:
        """A ``polars.DataFrame``: UInt64 and its like with null, strings, times with UTC."""
        pl = import_module("polars")

        def series(column: Column) -> Any:
            if column.dtype.kind == "M":
                return pl.Series(_moments(column), nan_to_null=True).dt.replace_time_zone("UTC")
            if column.dtype.kind == "O":
                return pl.Series(column.tolist(), dtype=pl.String)
            return pl.Series(column.data).set(pl.Series(column.mask), None)

        return pl.DataFrame({name: series(column) for name, column in self.items()})


def variables_named(names: Sequence[str]) -> tuple[Variable, ...]:
    """Variables of connections by their names, in any case.

    Raises UsageError for a name that is none, or another table's.
    """
    return tuple(map(_variable, names))


def frame_of(samples: Iterable[Sample], variables: Sequence[Variable]) -> Frame:
    """A row for each sample: whose it is, when it was ``taken``, and the variables."""
    found = list(samples)
    frame = Frame()
    for name, (dtype, column) in _WHOSE.items():
        frame[name] = _column([each.connection[column] for each in found], dtype)
    frame["taken"] = _column([each.taken_us for each in found], _TIME)
    for place, v in enumerate(variables):
        if v.name not in frame:
            frame[v.name] = _column([each.values[place] for each in found], v.dtype)
    return frame


def _variable(name: str) -> Variable:
    found = BY_NAME.get(name.lower())
    if found is None:
        close = difflib.get_close_matches(name.lower(), BY_NAME, n=3)
        meant = ", ".join(BY_NAME[each].name for each in close)
        raise UsageError(
            f"there is no variable {name!r}",
            f"Did you mean {meant}?" if meant else "`estats variables` lists them all.",
        )
    if found.table not in (Table.CONNECTION, *SAMPLED):
        raise UsageError(
            f"{found.name} is no variable of a connection",
            f"It is a column of the SQL table {found.table.value}.",
        )
    return found


def _column(values: Sequence[Any], dtype: str) -> Column:
    """A masked array, with a mask also where nothing is unknown."""
    mask: npt.NDArray[np.bool_] = np.array([value is None for value in values], np.bool_)
    if dtype == _TEXT:
        data = np.empty(len(values), object)
        data[:] = values
    else:
        data = np.array([0 if value is None else value for value in values], dtype)
    return np.ma.MaskedArray(data, mask)


def _moments(column: Column) -> npt.NDArray[np.datetime64]:
    """Times, and no time where there is none."""
    return np.where(np.ma.getmaskarray(column), np.datetime64("NaT"), column.data)
