"""The catalogue keeps its promises: spellings derive, ids stay, and every row says enough."""

import re
import sqlite3

import pytest

from bpf.catalogue import BY_NAME, CATALOGUE, in_table, stored_in
from bpf.variable import SAMPLED, Kind, Op, Status, Table, Variable

every_variable = pytest.mark.parametrize("v", CATALOGUE, ids=lambda v: f"{v.table.value}.{v.name}")


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("CurRTO", "cur_rto"),
        ("HCDataOctetsOut", "hc_data_octets_out"),
        ("DSACKDups", "dsack_dups"),
        ("NonRecovDAEpisodes", "non_recov_da_episodes"),
        ("PostCongCountRTT", "post_cong_count_rtt"),
        ("LimState_ts", "lim_state_ts"),
        ("SampleRTTUs", "sample_rtt_us"),
        ("IpTtl", "ip_ttl"),
    ],
)
def test_a_run_of_capitals_is_one_word(name: str, column: str) -> None:
    """The C and numpy spelling follows from the RFC's without a list of exceptions."""
    assert BY_NAME[name.lower()].column == column


def test_ids_have_no_gaps_and_are_never_nobodys() -> None:
    """A new row takes the next id and a row that is given up keeps its own; 0 is not given."""
    assert sorted(v.id for v in CATALOGUE) == list(range(1, len(CATALOGUE) + 1))


def test_c_names_are_unique() -> None:
    """Two variables with one enumerator would not compile."""
    assert len({v.enum_name for v in CATALOGUE}) == len(CATALOGUE)


def test_a_name_asked_for_in_any_case_means_one_variable_of_the_sampled_tables() -> None:
    """``--var`` takes a name without its table, so no two sampled tables may share one."""
    names = [v.name.lower() for table in SAMPLED for v in in_table(table)]

    assert len(set(names)) == len(names)
    assert all(BY_NAME[name].table in SAMPLED for name in names)


@every_variable
def test_a_row_says_what_it_means_and_how_exact_it_is(v: Variable) -> None:
    """The reference page has no empty promises."""
    assert re.match(r"(exact|equivalent|approximation|impossible)\b", v.exactness)
    assert v.summary.endswith(".")
    assert v.source
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", v.name), "SQL takes it without quotes"


@every_variable
def test_unavailable_and_impossible_are_the_same_thing(v: Variable) -> None:
    """What no stock kernel gives is not promised for later, and its reason follows the word."""
    assert (v.status is Status.UNAVAILABLE) == v.exactness.startswith("impossible")
    if v.status is Status.UNAVAILABLE:
        assert len(v.exactness) > len("impossible: ")


@every_variable
def test_high_and_low_water_marks_travel_as_max_and_min(v: Variable) -> None:
    """An old mark that arrives late must not undo a newer one."""
    if v.status is Status.COLLECTED:
        assert (v.kind is Kind.MAXIMUM) == (v.op is Op.MAX)
        assert (v.kind is Kind.MINIMUM) == (v.op is Op.MIN)


@every_variable
def test_a_counter_wraps_at_the_width_of_its_type(v: Variable) -> None:
    """Differences of a counter are taken modulo 2^bits."""
    if v.kind is Kind.COUNTER and (match := re.fullmatch(r"counter(\d+)", v.syntax)):
        assert v.bits == int(match[1])


@every_variable
def test_an_operand_is_as_wide_as_its_variable(v: Variable) -> None:
    """Nothing that travels is cut off on the way."""
    if v.table in SAMPLED:
        assert v.bits <= 8 * int(v.dtype[1])


@pytest.mark.parametrize("table", SAMPLED, ids=lambda t: t.value)
def test_wide_operands_come_first(table: Table) -> None:
    """So a block has no holes: neither the compiler nor numpy pads between its fields."""
    widths = [int(v.dtype[1]) for v in stored_in(table)]

    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize("table", SAMPLED, ids=lambda t: t.value)
def test_derived_variables_are_sql_over_stored_ones(table: Table) -> None:
    """A twin lies in the database once; its expression names only stored columns of its table."""
    stored = [v.name for v in stored_in(table)]
    with sqlite3.connect(":memory:") as db:
        db.execute(f"CREATE TABLE t ({', '.join([*stored, 'snapshot_id'])})")
        for v in in_table(table):
            assert (v.status is Status.DERIVED) == (v.derived is not None)
            if v.derived is not None:
                db.execute(f"SELECT {v.derived} FROM t")  # noqa: S608  (our own expression)
    db.close()
