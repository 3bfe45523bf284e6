"""More octets than 32 bits hold, and a sender that paces itself."""

import time
from collections.abc import Iterator
from itertools import count

import pytest

from tests.kernel.collecting import Database, collecting
from tests.kernel.edges import agree_with_kernel, bulk, settle
from tests.kernel.net import HERE
from tests.kernel.traffic import Pair, pair
from tests.kernel.validation import Between, agree

pytestmark = pytest.mark.kernel

PORTS = count(8401)
LARGE = 5 << 30
PACE, PACED = 4_000_000, 3_000_000  # octets in a second, and octets
UNPACED = 11  # segments: ten that the kernel lets go at once, and one that is on its way
WRAPS = 1 << 32
ITS_OWN = ("ECN",)  # this host answers to ECN, and asks for none: no witness tells who declined


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """What one collector writes during all tests here."""
    folder = tmp_path_factory.mktemp("volume")
    with collecting(folder, "--source", "bpf", "--interval", "200ms") as collector:
        yield collector.database


@pytest.fixture
def here() -> Iterator[Pair]:
    """A client and a server on this host's loopback."""
    with pair(HERE, HERE) as both:
        yield both


def test_counters_of_32_bits_go_on_at_0_and_those_of_64_bits_go_on(
    database: Database, here: Pair
) -> None:
    """Five gigabytes over one connection: the twins are right, and the old names are modulo 2³²."""
    here.open(HERE, 4, next(PORTS), 1)
    here.server.tell("swallow", size=LARGE)
    here.client("pour", size=LARGE)
    here.server.hear()
    settle(database, here)
    client, server = (database.latest(p.witnesses()[0].cookie) for p in here.peers)
    sent = LARGE + client["HCOctetsRetrans"]  # loopback drops what finds no room
    octets_out = {"HCDataOctetsOut": sent, "DataOctetsOut": sent % WRAPS}
    acked = {"HCThruOctetsAcked": LARGE + 1, "ThruOctetsAcked": (LARGE + 1) % WRAPS}
    agree("workload", client, octets_out | acked)
    came = Between(low=LARGE, high=sent, reason="what was sent again may have come before")
    agree(
        "workload",
        server,
        {
            "HCDataOctetsIn": came,
            "DataOctetsIn": server["HCDataOctetsIn"] % WRAPS,
            "HCThruOctetsReceived": LARGE,
            "ThruOctetsReceived": LARGE % WRAPS,
        },
    )
    sequence = {"SndNxt": (client["SndInitial"] + 1 + LARGE) % WRAPS}
    agree("workload", client, sequence | {"SndUna": sequence["SndNxt"]})
    agree_with_kernel(database, here, without=ITS_OWN)


def test_a_sender_with_a_rate_of_its_own_waits_for_its_pace(database: Database, here: Pair) -> None:
    """Three megabytes at four a second: nearly all of the time is Pace."""
    here.open(HERE, 4, next(PORTS), 1)
    here.client("pace", octets=PACE)
    began = time.monotonic()
    bulk(here.client, here.server, PACED)
    took_us = round((time.monotonic() - began) * 1e6)
    settle(database, here)
    agree_with_kernel(database, here, without=ITS_OWN)
    row = database.latest(here.client.witnesses()[0].cookie)
    paced = PACED - UNPACED * row["CurMSS"]
    told = Between(
        low=0.9 * paced / PACE * 1e6,
        high=took_us,
        reason="the first segments are not paced, and the handshake and the end are no pace",
    )
    agree("workload", row, {"SndLimTimePaceUs": told})
