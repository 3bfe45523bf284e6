"""A shard's tables hand over what changed, once, and forget what is closed."""

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from bpf.catalogue import in_group, stored_in
from bpf.record import CONNECTION, Flag, batch_dtype, known_bit, new_bit, sample_dtype
from bpf.variable import REFERRED, SAMPLED, Group, Op, Table
from collector.tables import Tables

BATCH = batch_dtype()
OFFSET_NS = 5_000_000
SHARDS, SHARD, FIRST_INDEX = 4, 3, 100

Batches = npt.NDArray[Any]
Taken = tuple[Batches, Batches]
NUMBERED = {"connection": FIRST_INDEX, "event": 1_000, "setup": 2_000}


def tables() -> Tables:
    """An empty shard with all tables."""
    return Tables(SAMPLED, NUMBERED, SHARDS, SHARD)


def batch(
    id_: int = 0, sent: int = 1, ts: int | None = None, flags: int = 0, **values: int
) -> Batches:
    """One batch; ``perf=3`` sets the last variable of perf; so for other tables."""
    made = np.zeros(1, BATCH)
    head, identity = made["head"], made["identity"]
    head["id"], head["sent"], head["flags"] = id_, sent, flags
    head["ts"] = 1_000_000 * sent if ts is None else ts
    identity["cookie"], identity["start_ns"] = 7_000 + id_, 2_000_000 + 1_000 * id_
    for name, value in values.items():
        column = stored_in(Table(name))[-1].column
        made[name]["known"] = 1 << known_bit(Table(name), column)
        made[name][column] = value
    return made


def again(cookie: int, reconnects: int) -> Batches:
    """A batch of a socket that was used before."""
    made = batch()
    made["head"]["id"] = cookie | reconnects << 56
    return made


def index_of(serial: int) -> int:
    """The ConnectIndex of the shard's connections in the order they came."""
    return FIRST_INDEX + 1 + serial * SHARDS + SHARD


def joined(*batches: Batches) -> Batches:
    """One array, padding included, which np.concatenate would drop."""
    return np.frombuffer(b"".join(part.tobytes() for part in batches), BATCH)


def sizes(taken: Taken) -> dict[str, int]:
    """How many connections, samples and new rows of other groups there are, zeros left out."""
    connections, samples = taken
    counts = {"connection": len(connections), "sample": len(samples)}
    for group in REFERRED:
        counts[group.value] = int(np.count_nonzero(samples["new"] & new_bit(group)))
    return {name: count for name, count in counts.items() if count}


def of_group(group: Group) -> str:
    """A 32-bit variable that is stored in this group, by its column of perf."""
    return next(v.column for v in in_group(group) if v.table is Table.PERF and v.dtype == "u4")


def saying(sent: int = 1, **values: int) -> Batches:
    """A batch that sets these columns of perf."""
    made = batch(sent=sent)
    for column, value in values.items():
        made["perf"]["known"] |= np.uint64(1 << known_bit(Table.PERF, column))
        made["perf"][column] = value
    return made


def test_a_connection_and_its_rows_are_handed_over() -> None:
    """With an index that no other shard gives, and the row's time of birth in UTC."""
    shard = tables()
    shard.apply(batch(5, perf=3, path=4), OFFSET_NS)

    connections, samples = shard.take()

    assert connections.dtype == CONNECTION
    assert connections["connect_index"].tolist() == [index_of(0)]
    assert connections["identity"]["cookie"].tolist() == [7_005]
    assert connections["opened_us"].tolist() == [(2_005_000 + OFFSET_NS) // 1_000]
    assert connections["closed_us"].tolist() == connections["lost"].tolist() == [0]
    assert samples.dtype == sample_dtype()
    assert samples["connect_index"].tolist() == [index_of(0)]
    assert samples["blocks"]["perf"][stored_in(Table.PERF)[-1].column].tolist() == [3]
    assert samples["event"].tolist() == [1_000 + 1 + SHARD]
    assert samples["setup"].tolist() == [2_000 + 1 + SHARD]


def test_a_socket_that_connects_again_is_another_connection() -> None:
    """Its id has the number of reconnects in the top byte, beside a cookie of up to 56 bits."""
    shard = tables()
    for reconnects in (0, 1, 255):
        shard.apply(again((1 << 56) - 1, reconnects), OFFSET_NS)

    connections, _ = shard.take()

    assert sorted(connections["connect_index"]) == [index_of(i) for i in range(3)]


def test_ids_of_64_bits_live_and_die() -> None:
    """Two that differ in their upper half only are told apart by census and close."""
    shard = tables()
    ids = np.array([7, 7 | 1 << 40, 7 | 3 << 56], "u8")
    for id_ in ids:
        one = batch(ts=10, perf=1)
        one["head"]["id"] = id_
        shard.apply(one, OFFSET_NS)

    assert shard.close_missing(ids[1:], before_ns=20, now_us=99) == 1
    assert shard.take()[0]["closed_us"].tolist() == [99, 0, 0]
    assert sizes(shard.take()) == {}
    assert shard.close_missing(ids[:0], before_ns=20, now_us=100) == 2

    shard.take()
    shard.take()

    assert shard.meters()["connections"] == 0


def test_what_did_not_change_is_not_handed_over_again() -> None:
    """An idle connection costs nothing, nor does one that only spoke."""
    shard = tables()
    shard.apply(batch(sent=1, perf=3, tune=4), OFFSET_NS)

    assert sizes(shard.take()) == {"connection": 1, "sample": 1, "event": 1, "setup": 1}
    assert sizes(shard.take()) == {}

    shard.apply(batch(sent=2, flags=Flag.SWEPT, perf=3, tune=4), OFFSET_NS)

    assert sizes(shard.take()) == {}


def test_a_row_of_a_group_is_new_when_one_of_its_variables_changed() -> None:
    """Samples refer to it by its number until then; numbers are no other shard's."""
    shard = tables()
    moving, event, setup = map(of_group, Group)
    told: list[dict[str, int]] = []
    for sent, values in enumerate(
        ({moving: 1, event: 1, setup: 1}, {moving: 2}, {event: 2}, {setup: 2}, {moving: 0}), 1
    ):
        known = {moving: 1, event: 1, setup: 1} if not told else told[-1] | values
        told.append(known | values)
        shard.apply(saying(sent, **told[-1]), OFFSET_NS)
        taken = shard.take()
        (sample,) = taken[1]
        assert sizes(taken).keys() - {"connection", "sample"} == {
            group.value for group in REFERRED if sent == 1 or of_group(group) in values
        }
        assert sample["event"] == 1_000 + 1 + SHARD + SHARDS * (sent > 2)
        assert sample["setup"] == 2_000 + 1 + SHARD + SHARDS * (sent > 3)


def test_what_becomes_known_is_a_change_of_its_group() -> None:
    """Also if the value is 0, as it looked before."""
    shard = tables()
    moving, _, setup = map(of_group, Group)
    shard.apply(saying(1, **{moving: 1}), OFFSET_NS)
    shard.take()
    shard.apply(saying(2, **{moving: 1, setup: 0}), OFFSET_NS)

    assert sizes(shard.take()) == {"sample": 1, "setup": 1}


def test_without_a_sampled_table_there_are_connections_only() -> None:
    """As with ``--tables listener``."""
    shard = Tables((), NUMBERED, SHARDS, SHARD)
    bare = np.zeros(1, batch_dtype(()))
    bare["head"]["id"], bare["head"]["sent"] = 1, 1
    shard.apply(bare, OFFSET_NS)

    assert sizes(shard.take()) == {"connection": 1}


def test_a_connection_of_which_nothing_is_known_has_no_sample() -> None:
    """NULL in every column is not a sample."""
    shard = tables()
    noise = batch()
    noise["perf"]["cur_rto_us"] = 9
    shard.apply(noise, OFFSET_NS)

    assert sizes(shard.take()) == {"connection": 1}


def test_what_the_kernel_left_in_a_record_is_no_change() -> None:
    """Stale bytes of the ring lie in padding and in operands that are unknown."""
    shard = tables()
    for sent, stale in ((1, 0x55), (2, 0xAA)):
        left = np.frombuffer(bytes([stale]) * BATCH.itemsize, BATCH).copy()
        clean = batch(sent=sent)
        for field in ("head", "identity"):
            left[field] = clean[field]
        left["identity"]["pid"] = stale
        for table in SAMPLED:
            left[table.value]["known"] = 1
            left[table.value][stored_in(table)[0].column] = 7
        shard.apply(left, OFFSET_NS)
        connections, samples = shard.take()

        assert len(connections) == len(samples) == (sent == 1)


def test_the_start_in_utc_is_written_by_us() -> None:
    """The kernel sends monotonic time where the RFC wants the wall clock's."""
    shard = tables()
    start = batch()
    for table, column in ((Table.PERF, "start_time_stamp"), (Table.GLOBAL, "start_tv")):
        start[table.value]["known"] = 1 << known_bit(table, column)
        start[table.value][column] = 2_000_000
    shard.apply(start, OFFSET_NS)

    connections, samples = shard.take()

    opened = connections["opened_us"].tolist()
    assert samples["blocks"]["perf"]["start_time_stamp"].tolist() == opened
    assert samples["blocks"]["global"]["start_tv"].tolist() == opened


def test_a_final_batch_closes() -> None:
    """The row is dated by the batch, handed over once, and its place is used again."""
    shard = tables()
    shard.apply(batch(0, ts=8_000_000, flags=Flag.FINAL, perf=3), OFFSET_NS)
    connections, samples = shard.take()

    assert connections["closed_us"].tolist() == [13_000]
    assert len(samples) == 1
    assert shard.meters()["connections"] == 0

    for id_ in range(1, 1_100):
        shard.apply(batch(id_, flags=Flag.FINAL, perf=3), OFFSET_NS)
        assert sizes(shard.take()) == {"connection": 1, "sample": 1, "event": 1, "setup": 1}

    assert shard.rows_allocated == 1_024


def test_what_came_and_went_is_not_handed_over_twice() -> None:
    """Nobody remembers what it was, for nothing is to follow: until something does."""
    shard = tables()
    final = batch(sent=2, flags=Flag.FINAL, perf=3)
    shard.apply(final, OFFSET_NS)
    assert sizes(shard.take())["sample"] == 1

    shard.apply(joined(final, final), OFFSET_NS)
    shard.apply(final, OFFSET_NS)
    assert sizes(shard.take()).get("sample") is None

    shard.apply(joined(*(batch(id_, flags=Flag.FINAL, perf=3) for id_ in (1, 2))), OFFSET_NS)
    assert sizes(shard.take())["sample"] == 2
    late = joined(batch(1, sent=1, ts=1, tune=9), batch(2, sent=1, ts=1))
    shard.apply(late, OFFSET_NS)
    _connections, samples = shard.take()
    assert samples["connect_index"].tolist() == [index_of(1)]
    assert samples["blocks"]["perf"][stored_in(Table.PERF)[-1].column].tolist() == [3]
    assert sizes(shard.take()) == {}


def test_a_straggler_finds_its_closed_connection() -> None:
    """A batch that was submitted after the cut of its close is late, not a new connection."""
    shard = tables()
    shard.apply(batch(sent=2, flags=Flag.FINAL, perf=3), OFFSET_NS)
    connections, _ = shard.take()

    assert connections["lost"].tolist() == [1]

    shard.apply(batch(sent=1, perf=9), 2 * OFFSET_NS)
    connections, samples = shard.take()

    assert connections["lost"].tolist() == [0]
    assert connections["closed_us"].tolist() == [7_000]
    assert len(samples) == 0
    assert shard.meters()["late"] == 1


def test_lost_batches_are_counted_at_their_connection() -> None:
    """A gap shows at once, and heals if the batch was only late."""
    shard = tables()
    for sent, lost in ((1, 0), (4, 2), (3, 1)):
        shard.apply(batch(sent=sent), OFFSET_NS)
        connections, _ = shard.take()

        assert connections["lost"].tolist() == [lost]


def test_an_owner_once_known_stays() -> None:
    """Later batches made in softirq do not know who owns the socket."""
    shard = tables()
    owned = batch(sent=1, flags=Flag.OWNER)
    owned["identity"]["pid"], owned["identity"]["comm"] = 77, b"iperf"
    shard.apply(owned, OFFSET_NS)
    shard.apply(batch(sent=2, flags=Flag.FINAL), OFFSET_NS)

    connections, _ = shard.take()

    assert connections["identity"]["pid"].tolist() == [77]
    assert connections["identity"]["comm"].tolist() == [b"iperf"]
    assert connections["flags"].tolist() == [Flag.OWNER | Flag.FINAL]


def test_a_census_closes_whose_final_batch_was_lost() -> None:
    """Silent and gone: closed without the final flag. Heard of since or alive: open."""
    shard = tables()
    for id_, ts in ((0, 10), (1, 10), (2, 30)):
        shard.apply(batch(id_, ts=ts), OFFSET_NS)
    shard.take()

    assert shard.close_missing(np.array([1], "u8"), before_ns=20, now_us=99) == 1

    connections, _ = shard.take()

    assert connections["connect_index"].tolist() == [index_of(0)]
    assert connections["closed_us"].tolist() == [99]
    assert connections["flags"].tolist() == [0]
    assert shard.meters() | {"batches": 0} == {
        "connections": 2, "batches": 0, "ops": 0, "late": 0
    }  # fmt: skip
    assert shard.close_missing(np.array([1], "u8"), before_ns=20, now_us=99) == 0


def test_meters_are_amounts_since_the_last_call() -> None:
    """But connections, which are those open now."""
    shard = tables()
    shard.apply(joined(batch(0, perf=1, path=2), batch(1, perf=1)), OFFSET_NS)

    amounts = {"connections": 2, "batches": 2, "ops": 3, "late": 0}
    assert shard.meters() == amounts
    assert shard.meters() == dict.fromkeys(amounts, 0) | {"connections": 2}


def test_tables_grow() -> None:
    """More connections than there were rows, in one call, all with what they had."""
    shard = tables()
    shard.apply(batch(0, perf=1), OFFSET_NS)
    many = joined(*(batch(id_, perf=id_) for id_ in range(1, 3_000)))
    shard.apply(many, OFFSET_NS)

    connections, samples = shard.take()

    assert sorted(connections["connect_index"]) == [index_of(id_) for id_ in range(3_000)]
    assert set(sizes((connections, samples)).values()) == {3_000}


def test_room_is_given_back_when_a_crowd_has_gone() -> None:
    """A quarter of it in use is enough to keep it; who stayed is still the same, and goes on."""
    shard = tables()
    stays = (7, 2_500)
    crowd = joined(*(batch(id_, perf=id_, tune=3) for id_ in range(5_000)))
    shard.apply(crowd, OFFSET_NS)
    connections, _ = shard.take()
    names = dict(zip(connections["identity"]["cookie"], connections["connect_index"], strict=True))
    gone = np.ones(5_000, bool)
    gone[list(stays)] = False
    final = crowd.copy()
    final["head"]["flags"], final["head"]["sent"] = Flag.FINAL, 2
    shard.apply(final[gone], OFFSET_NS)
    takes = 0
    while shard.rows_allocated > 1_024:
        assert takes < 40, "it waits, but not for ever"
        shard.take()
        takes += 1
    assert takes > 10, "the crowd might have come back"
    assert sizes(shard.take()) == {}
    shard.apply(joined(*(batch(id_, sent=2, perf=9, tune=3) for id_ in (*stays, 9_999))), OFFSET_NS)
    connections, samples = shard.take()

    assert connections["identity"]["cookie"].tolist() == [7_000 + 9_999]
    assert set(samples["connect_index"]) > {names[7_000 + id_] for id_ in stays}
    assert sizes((connections, samples)) == {"connection": 1, "sample": 3, "event": 3, "setup": 1}
    assert shard.close_missing(np.zeros(0, "u8"), before_ns=1 << 62, now_us=5) == 3


def latest(shard: Tables, ticks: list[Batches]) -> dict[Any, bytes]:
    """What storage shows in the end, by cookie: the last of each connection and of its samples."""
    shown: dict[Any, bytes] = {}
    cookies: dict[int, int] = {}
    for batches in ticks:
        shard.apply(batches, OFFSET_NS)
        connections, samples = shard.take()
        for connection in connections:
            cookie = cookies[int(connection["connect_index"])] = connection["identity"]["cookie"]
            shown[int(cookie)] = connection.tobytes()[8:]
        for sample in samples:
            shown["sample", cookies[int(sample["connect_index"])]] = sample["blocks"].tobytes()
    return shown


@given(st.integers(0, 1 << 30), st.integers(1, 60), st.integers(1, 6), st.booleans())
def test_ticks_and_spread_do_not_change_what_is_stored(
    seed: int, count: int, ticks: int, with_finals: bool
) -> None:
    """One read of everything, or any number of reads in any order: the same in the database."""
    random = np.random.default_rng(seed)
    batches = np.frombuffer(random.bytes(count * BATCH.itemsize), BATCH).copy()
    batches["head"]["flags"] = random.choice([0, Flag.OWNER.value], count)
    batches["identity"]["start_ns"] = 1_000
    batches["head"]["id"] = random.integers(0, 4, count)
    batches["identity"]["cookie"] = batches["head"]["id"]
    batches["head"]["ts"] = random.integers(1, 1_000, count)
    batches["head"]["sent"] = np.arange(1, count + 1)
    for table in random.permutation(np.array([t.value for t in SAMPLED]))[: random.integers(8)]:
        batches[table]["known"] = (1 << len(stored_in(Table(table)))) - 1
    if with_finals:
        batches["head"]["flags"][-4:] |= Flag.FINAL.value
    mixed = batches[random.permutation(count)]
    # A close is not handed over before all that was sent before it: finals come in the last tick.
    final = (mixed["head"]["flags"] & Flag.FINAL.value) != 0
    parts = np.array_split(mixed[~final], ticks)
    parts[-1] = joined(mixed[final], parts[-1])

    assert latest(tables(), parts) == latest(tables(), [batches])


def test_every_op_of_the_catalogue_is_absolute() -> None:
    """Tables may take a batch twice or lose one: no sampled variable is sent as a difference."""
    assert {v.op for t in SAMPLED for v in stored_in(t)} <= {Op.SET, Op.MAX, Op.MIN}
