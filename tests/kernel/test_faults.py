"""The quick ones of the faults that ``make faults`` plays: nothing is lost that is not counted.

Some rounds of each under a running load, whose own count of every connection is the oracle.
"""

from functools import partial
from itertools import chain

import pytest

from tests.faults import machine, processes, storage
from tests.faults.account import Account, account
from tests.faults.load import End
from tests.faults.stage import Act, Stage, played

pytestmark = pytest.mark.kernel

ROUNDS = 3
QUICK: dict[str, Act] = {
    name: processes.MANY[name]
    for name in ("kill worker", "kill writer", "kill supervisor", "stop worker")
}
QUICK |= {name: storage.FAULTS[name] for name in ("disk full", "write fails", "database deleted")}
QUICK |= {name: machine.FAULTS[name] for name in ("ring overflow", "no descriptor")}
QUICK["database locked"] = partial(storage.locked, seconds=6.0)


@pytest.mark.parametrize("fault", QUICK)
def test_what_is_lost_is_counted(fault: str) -> None:
    """Each connection has one row with the octets of the oracle, or is in a count of losses."""
    outcome = played(fault, QUICK[fault], ROUNDS if fault in processes.MANY else 1)

    assert outcome.account.offered > 0
    assert outcome.account.applied > 0
    assert outcome.is_good, outcome


def test_the_account_finds_what_is_missing() -> None:
    """Another end, an octet more: a harness that cannot fail would prove nothing."""
    found: list[Account] = []

    def play(stage: Stage, rounds: int) -> None:
        stage.collect()
        stage.catch_up()
        stage.end()
        first, *others = stage.load.ends
        strange = End(1, 1, first.closed_us)
        wrong = End(first.cookie, first.octets + 1, first.closed_us)
        tries = ([first, *others], [strange, *others], [wrong, *others])
        found.extend(account(stage.folder / "flows.db", ends) for ends in tries)

    assert played("none", play, 1).is_good
    assert [a.is_good for a in found] == [True, False, False]
    assert list(chain.from_iterable((a.lost, a.wrong) for a in found)) == [0, 0, 1, 0, 0, 1]
