"""The index answers like a dictionary and keeps nothing of what it forgot."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from collector.index import Index

#: Cookies count up, some from 2^64 down, and reconnects are in the top byte.
IDS = (
    st.integers(0, 50) | st.integers((1 << 56) - 3, (1 << 56) + 20) | st.integers(0, (1 << 64) - 1)
)


class IndexIsADictionary(RuleBasedStateMachine):
    """Whatever is assigned and forgotten, lookups are those of a plain dictionary."""

    def __init__(self) -> None:
        """Both empty."""
        super().__init__()
        self.index = Index()
        self.model: dict[int, int] = {}
        self.row = 0

    @rule(ids=st.sets(IDS, max_size=20))
    def assign(self, ids: set[int]) -> None:
        """New ids get new rows."""
        new = sorted(ids - self.model.keys())
        rows = range(self.row, self.row + len(new))
        self.row += len(new)
        self.index.assign(np.array(new, "u8"), np.array(rows, np.intp))
        self.model.update(zip(new, rows, strict=True))

    @rule(share=st.integers(1, 3))
    def forget(self, share: int) -> None:
        """Known ids become unknown."""
        gone = sorted(self.model)[::share]
        self.index.forget(np.array(gone, "u8"))
        for id_ in gone:
            del self.model[id_]

    @rule(ids=st.lists(IDS, max_size=20))
    def lookup(self, ids: list[int]) -> None:
        """Any ids, known or not, repeated or not."""
        found = self.index.lookup(np.array(ids, "u8")).tolist()

        assert found == [self.model.get(i, -1) for i in ids]

    @invariant()
    def every_known_id_is_found(self) -> None:
        """Changes elsewhere lose nothing."""
        found = self.index.lookup(np.array(list(self.model), "u8")).tolist()

        assert found == list(self.model.values())


TestIndexIsADictionary = IndexIsADictionary.TestCase
TestIndexIsADictionary.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)


def test_connections_long_gone_cost_nothing() -> None:
    """A million ids that come and go leave no more than those that stay."""
    index = Index()
    index.assign(np.array([7], "u8"), np.array([0]))
    for first in range(1 << 10, 1 << 20, 1 << 10):
        ids = np.arange(first, first + (1 << 10), dtype="u8")
        index.assign(ids, np.arange(1 << 10))
        index.forget(ids)

    assert index.nbytes == 16
    assert index.lookup(np.array([7, (1 << 20) - 1], "u8")).tolist() == [0, -1]
