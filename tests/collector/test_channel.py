"""What is sent through a channel arrives whole, in order, and without waiting for its reader."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bpf.errors import CollectorError
from bpf.record import CONNECTION, sample_dtype
from bpf.variable import Table
from collector.channel import Channel

Array = npt.NDArray[Any]
Pair = tuple[Channel, Channel]

DTYPES = st.sampled_from([np.dtype(t) for t in ("u1", "u2", "u8", "i4", "S5")]) | st.sampled_from(
    [CONNECTION, sample_dtype([Table.TUNE])]
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: st.binary(max_size=40 * dtype.itemsize).map(
        lambda octets: np.frombuffer(
            octets[: len(octets) // dtype.itemsize * dtype.itemsize], dtype
        )
    )
)
WORDS = st.dictionaries(st.sampled_from("abc"), st.integers(-(1 << 63), 1 << 64) | st.text())


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two ends; afterwards neither a descriptor nor a mapping is left of what they exchanged."""
    before = len(os.listdir("/proc/self/fd"))
    one, other = Channel.pair()
    yield one, other
    one.close()
    other.close()
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.lists(st.tuples(WORDS, st.dictionaries(st.text(max_size=5), ARRAYS, max_size=4))))
def test_words_and_arrays_come_as_they_were(
    messages: list[tuple[dict[str, Any], dict[str, Array]]],
) -> None:
    """Of any dtype and size, empty ones too, each message by itself and in order."""
    messages = messages[:8]
    one, other = Channel.pair()
    for words, arrays in messages:
        one.send(words, arrays)
    for words, arrays in messages:
        received, octets = other.receive()

        assert received == words
        assert list(octets) == list(arrays)
        for name, array in arrays.items():
            assert octets[name].view(array.dtype).tobytes() == array.tobytes()
    one.close()
    other.close()


@given(hnp.arrays(np.dtype("u4"), st.tuples(st.integers(0, 20)), elements=st.integers(0, 9)))
def test_a_view_with_gaps_comes_without_them(whole: Array) -> None:
    """Every other element, backwards: what counts is what the view shows."""
    one, other = Channel.pair()
    one.send({}, {"some": whole[::-2]})
    _, octets = other.receive()
    one.close()
    other.close()

    assert octets["some"].view("u4").tolist() == whole[::-2].tolist()


def test_what_was_received_outlives_the_channel() -> None:
    """It is the reader's memory from then on."""
    one, other = Channel.pair()
    one.send({}, {"numbers": np.arange(1000)})
    _, octets = other.receive()
    one.close()
    other.close()

    assert octets["numbers"].view("i8").tolist() == list(range(1000))


def test_a_sender_does_not_wait_for_a_reader(pair: Pair) -> None:
    """64 messages of a mebibyte each that nobody reads are sent all the same."""
    one, other = pair
    block = np.zeros(1 << 20, "u1")

    def send() -> None:
        for n in range(64):
            one.send({"n": n}, {"block": block})

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(60)

    assert not sender.is_alive()
    assert [other.receive()[0]["n"] for _ in range(64)] == list(range(64))


def test_no_descriptor_is_left_of_a_message(pair: Pair) -> None:
    """However many are sent, with arrays or without; the fixture counts."""
    one, other = pair
    for _ in range(50):
        one.send({"n": 1}, {"some": np.arange(3), "none": np.zeros(0)})
        one.send({"n": 2})
        _, arrays = other.receive()
        other.receive()
        del arrays


def test_an_end_that_is_gone_is_told_to_a_receiver(pair: Pair) -> None:
    """What it sent before is received first."""
    one, other = pair
    one.send({"n": 1})
    one.close()

    assert other.receive()[0] == {"n": 1}
    with pytest.raises(CollectorError):
        other.receive()


def test_an_end_that_left_words_unread_is_told_to_a_receiver(pair: Pair) -> None:
    """The kernel calls that a reset connection; it is no other error for that."""
    one, other = pair
    other.send({"never": "read"})
    one.close()

    with pytest.raises(CollectorError):
        other.receive()


@pytest.mark.parametrize("arrays", [{}, {"some": np.zeros(3)}])
def test_an_end_that_is_gone_is_told_to_a_sender(pair: Pair, arrays: dict[str, Array]) -> None:
    """And the arrays' memory is given back."""
    one, other = pair
    one.close()

    with pytest.raises(CollectorError):
        other.send({}, arrays)


def test_waiting_ends_with_a_message_or_with_the_other_end(pair: Pair) -> None:
    """Nothing to read is told as such; a descriptor to poll says the same."""
    one, other = pair

    assert not other.wait(0)
    one.send({})
    assert other.wait(60)
    other.receive()
    assert not other.wait(-1)
    one.close()
    assert other.wait(60)
