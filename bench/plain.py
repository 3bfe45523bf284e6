"""Applying operands the plain way: one after the other, into a dictionary."""

from bpf.catalogue import stored_in
from bpf.variable import SAMPLED, Op, Variable
from collector.ring import Batches

Values = dict[tuple[int, int], int]


def apply(values: Values, batches: Batches) -> int:
    """Merge all tables of some batches into ``values``, by connection and variable; how many."""
    applied = 0
    connections = batches["head"]["id"].tolist()
    for table in SAMPLED:
        columns = stored_in(table)
        for connection, (known, *operands) in zip(
            connections, batches[table.value].tolist(), strict=True
        ):
            for place, variable in enumerate(columns):
                if known >> place & 1:
                    _apply_one(values, (connection, variable.id), variable, operands[place])
                    applied += 1
    return applied


def _apply_one(values: Values, key: tuple[int, int], variable: Variable, operand: int) -> None:
    before = values.get(key)
    if before is None or variable.op is Op.SET:
        values[key] = operand
    elif variable.op is Op.MAX:
        values[key] = max(before, operand)
    elif variable.op is Op.MIN:
        values[key] = min(before, operand)
    else:
        values[key] = before + (operand if variable.op is Op.ADD else -operand)
