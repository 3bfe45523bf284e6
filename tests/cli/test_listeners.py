"""estats listeners: who listens, and how well it keeps up."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpf.record import ENDPOINT, LISTENER_ROW, Flag, known_bit
from bpf.variable import HISTORIES, Table
from storage.writer import Writer
from tests.cli.conftest import Estats
from tests.cli.story import at, one_run, snapshot
from tests.samples import Samples

V4 = [*bytes(10), 255, 255, 192, 0, 2, 1]
NGINX, SSHD = 1, 2


def endpoint(index: int, port: int, kind: int, comm: bytes = b"", closed: float = 0) -> Any:
    """A listener since second 1; without a name its owner is unknown."""
    row = np.zeros(1, ENDPOINT)
    row["listener_index"], row["address_type"] = index, kind
    row["opened_us"], row["closed_us"] = at(1), at(closed) if closed else 0
    row["flags"] = Flag.OWNER if comm else Flag.BACKFILL
    who = row["identity"]
    who["local_address"] = V4 if kind == 1 else 0
    who["local_port"], who["comm"], who["pid"], who["netns"] = port, comm, 42, 4026531840
    return row


def values(index: int, **named: int) -> Any:
    """A row of a listener that knows these columns."""
    row = np.zeros(1, LISTENER_ROW)
    row["listener_index"] = index
    for column, value in named.items():
        row["block"][column] = value
        row["block"]["known"] |= np.uint64(1 << known_bit(Table.LISTENER, column))
    return row


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A web server on IPv4, which closes, and one that is older, on any address of both kinds."""
    path = tmp_path_factory.mktemp("listeners") / "flows.db"
    writer = Writer(path, one_run(0, [t.value for t in HISTORIES], {}))
    first = [
        values(NGINX, hc_syn_rcvd=2**32 + 5, cur_backlog=3, max_backlog=511, socket_drops=7),
        values(SSHD, hc_syn_rcvd=1, cur_backlog=0, max_backlog=128, cur_conns=1),
    ]
    last = [values(NGINX, hc_syn_rcvd=2**32 + 9, cur_backlog=0, max_backlog=511, socket_drops=9)]
    lives = [endpoint(NGINX, 80, 1, b"nginx"), endpoint(SSHD, 22, 0)]
    ends = [endpoint(NGINX, 80, 1, b"nginx", closed=2.5)]
    for seconds, rows, endpoints in ((2, first, lives), (3, last, ends)):
        made = snapshot(seconds, Samples().of({}))
        object.__setattr__(made, "listeners", np.concatenate(rows))
        object.__setattr__(made, "endpoints", np.concatenate(endpoints))
        writer.write(made)
    writer.close("done")
    return path


def answers(estats: Estats, *options: object) -> list[dict[str, Any]]:
    """The objects that it prints."""
    answer = estats("listeners", "--format", "json", *options)
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


def test_a_row_tells_where_whose_and_how_it_keeps_up(estats: Estats, story: Path) -> None:
    """A star is any address; what is unknown is a dash."""
    header, nginx, sshd = estats("listeners", "--db", story).out.splitlines()
    assert header.split()[:7] == [
        *("ListenerIndex", "Local", "Owner", "Netns", "Age", "Backlog", "SynRcvd"),
    ]
    assert nginx.split() == [
        *("1", "192.0.2.1:80", "nginx[42]", "4026531840", "1s", "0/511", "4294967305"),
        *("-", "-", "-", "-", "9"),
    ]
    assert sshd.split()[1:6] == ["*:22", "-", "4026531840", "2s", "0/128"]


def test_an_object_has_the_names_of_the_rfc(estats: Estats, story: Path) -> None:
    """Asked for by name, in any case; the 32-bit counter wraps."""
    (found,) = answers(estats, "--db", story, "--sport", 80, "--var", "synrcvd,HCSynRcvd")
    assert (found["SynRcvd"], found["HCSynRcvd"]) == (9, 2**32 + 9)
    assert (found["LocalAddressType"], found["LocalAddress"], found["LocalPort"]) == (
        *(1, "192.0.2.1", 80),
    )
    assert (found["origin"], found["pid"], found["comm"]) == ("listen", 42, "nginx")
    assert found["closed"] is not None


@pytest.mark.parametrize(
    ("options", "indexes"),
    [
        (("--sport", "ssh"), [SSHD]),
        (("--saddr", "192.0.2.1"), [NGINX]),
        (("--net", "192.0.2.0/24"), [NGINX]),
        (("--net", "::/0"), [SSHD]),
        (("--pid", 42), [NGINX]),
        (("--comm", "ngi*"), [NGINX]),
        (("--open",), [SSHD]),
        (("--closed",), [NGINX]),
        (("--open", "--until", at(2) / 1e6), [NGINX, SSHD]),
        (("--sport", 23), []),
    ],
)
def test_options_choose_listeners(
    estats: Estats, story: Path, options: tuple[object, ...], indexes: list[int]
) -> None:
    """As they choose connections, by this end."""
    assert [f["ListenerIndex"] for f in answers(estats, "--db", story, *options)] == indexes


def test_the_period_says_as_of_when(estats: Estats, story: Path) -> None:
    """What happened after it is not told."""
    found, _ = answers(estats, "--db", story, "--until", at(2) / 1e6)
    assert (found["HCSynRcvd"], found["closed"], found["CurBacklog"]) == (2**32 + 5, None, 3)


def test_history_has_every_sample(estats: Estats, story: Path) -> None:
    """A line for each snapshot in which something changed."""
    options = ("--db", story, "--history", "--var", "SocketDrops", "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(estats("listeners", *options).out)))
    assert [(line["ListenerIndex"], line["SocketDrops"]) for line in lines] == [
        *(("1", "7"), ("1", "9"), ("2", "")),
    ]
    table = estats("listeners", "--db", story, "--history", "--sport", 80).out.splitlines()
    assert table[0].split()[:3] == ["ListenerIndex", "taken", "Local"]
    assert len(table) == 3


def test_only_listeners_variables_are_asked_of_them(estats: Estats, story: Path) -> None:
    """And the other way round; the advice says where else."""
    wrong = estats("listeners", "--db", story, "--var", "SegsOut")
    assert wrong.code == 2
    assert "estats query --var SegsOut" in wrong.err
    other = estats("query", "--db", story, "--var", "SynRcvd")
    assert other.code == 2
    assert "estats listeners --var SynRcvd" in other.err
    host = estats("listeners", "--db", story, "--var", "ControlPath")
    assert "SQL table control" in host.err


def test_nothing_that_matches_is_said(estats: Estats, story: Path) -> None:
    """On standard error; it is no error."""
    answer = estats("listeners", "--db", story, "--sport", 23)
    assert (answer.code, answer.out) == (0, "")
    assert "no listener matches" in answer.err
