"""Samples as a collector hands them over, from the values that a test names."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bpf.catalogue import BY_NAME, stored_in
from bpf.record import known_bit, new_bit, sample_dtype
from bpf.variable import REFERRED, SAMPLED, Group, Table, Variable

Values = Mapping[str, int]


class Samples:
    """What is known of some connections, and which of their rows are stored."""

    def __init__(self, tables: Collection[Table] = SAMPLED) -> None:
        """Nothing is known; samples will have the blocks of ``tables``."""
        self._tables = tables
        self._values: dict[int, dict[Variable, int]] = {}
        self._rows: dict[tuple[int, Group], int] = {}
        self._last = dict.fromkeys(REFERRED, 0)

    def of(self, values: Mapping[int, Values]) -> npt.NDArray[Any]:
        """New values of some variables by ConnectIndex: all that is known of them now."""
        made = np.zeros(len(values), sample_dtype(self._tables))
        for sample, (index, named) in zip(made, values.items(), strict=True):
            sample["connect_index"] = index
            self._learn(sample, index, named)
            for variable, value in self._values[index].items():
                block = sample["blocks"][variable.table.value]
                block[variable.column] = value
                block["known"] |= np.uint64(1 << known_bit(variable.table, variable.column))
        return made

    def _learn(self, sample: Any, index: int, named: Values) -> None:
        """Remember values, and number the rows that they make new."""
        known = self._values.setdefault(index, {})
        changed = {BY_NAME[name.lower()]: value for name, value in named.items()}
        assert all(v in stored_in(v.table) for v in changed), "only these are stored"
        for group in REFERRED:
            moved = any(v.group is group and known.get(v) != value for v, value in changed.items())
            if moved or (index, group) not in self._rows:
                self._last[group] += 1
                self._rows[index, group] = self._last[group]
                sample["new"] |= np.uint64(new_bit(group))
            sample[group.value] = self._rows[index, group]
        known.update(changed)
