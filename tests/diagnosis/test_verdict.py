"""From made-up differences to verdicts: each rule on either side of its threshold, and edges."""

from typing import Any

import pytest

from bpf.variable import Kind
from diagnosis.observed import LIMITS, VARIABLES, Observed, Spread
from diagnosis.rules import RULES
from diagnosis.triage import Side, shares
from diagnosis.verdict import judge
from tests.diagnosis.made import MSS, made

BUSY = [10 * MSS] * 8
LOST: dict[str, Any] = {"SegsRetrans": 20, "CongSignals": 8}
TINY: dict[str, Any] = {
    "HCDataOctetsOut": 20_000,
    "DataSegsOut": 200,
    "CountRTT": 200,
    "CurAppWQueue": [100],
}


@pytest.mark.parametrize(
    ("verdict", "changed"),
    [
        ("application", {"snd": 0.9, "cwnd": 0.1}),
        ("send buffer", {"snd": 1, "CurRetxQueue": BUSY, "CurAppWQueue": [0]}),
        ("application", {"snd": 1, "CurRetxQueue": [*BUSY, 0, 0, 0], "CurAppWQueue": [0]}),
        ("application", {"snd": 1, "CurRetxQueue": [MSS, 10 * MSS, MSS], "CurAppWQueue": [0]}),
        ("delayed ACKs", {"snd": 1, "HCSumRTTUs": 200 * 40_000, **TINY}),
        ("application", {"snd": 1, "HCSumRTTUs": 200 * 30_000, **TINY}),
        ("application", {"snd": 1, "HCSumRTTUs": 200 * 40_000, **TINY, "Nagle": [2]}),
        ("application", {"snd": 1, "HCSumRTTUs": 200 * 40_000, **TINY, "CurAppWQueue": [0]}),
        ("congestion window", {"cwnd": 1}),
        ("congestion window", {"cwnd": 0.4, "tsodefer": 0.3, "snd": 0.3}),
        ("loss", {"cwnd": 1, **LOST}),
        ("congestion window", {"cwnd": 1, "SegsRetrans": 19}),
        (
            "reordering",
            {"cwnd": 1, **LOST, "DSACKDups": 19, "FastRetran": 8} | {"SpuriousFrDetected": 7},
        ),
        ("congestion window", {"cwnd": 1, **LOST, "DSACKDups": 9, "SegsRetrans": 10}),
        ("small MSS", {"cwnd": 1, **LOST, "CurMSS": [536]}),
        ("loss", {"cwnd": 1, **LOST, "CurMSS": [537]}),
        ("bufferbloat", {"cwnd": 1, **LOST, "HCSumRTTUs": 5000 * 40_000}),
        ("loss", {"cwnd": 1, **LOST, "HCSumRTTUs": 5000 * 39_000}),
        ("congestion window", {"cwnd": 1, "HCSumRTTUs": 5000 * 2_000, "MinRTTUs": [500]}),
        ("timeouts", {"cwnd": 1, "Timeouts": 1, "SubsequentTimeouts": 3}),
        ("congestion window", {"cwnd": 1, "Timeouts": 1, "SubsequentTimeouts": 2}),
        ("slow reader", {"rwin": 1, "CurRwinRcvd": [0, 500, 200_000]}),
        ("receive buffer", {"rwin": 1, "CurRwinRcvd": [9000], "ZeroRwinRcvd": 2}),
        ("bufferbloat", {"rwin": 1, "HCSumRTTUs": 5000 * 80_000}),
        ("pacing", {"pace": 0.9, "cwnd": 0.1}),
    ],
)
def test_a_sender_is_judged_by_the_first_rule_that_holds(
    verdict: str, changed: dict[str, Any]
) -> None:
    """Just at a threshold it does, just below it another cause is named."""
    assert judge(made(**changed)).name == verdict


@pytest.mark.parametrize(
    ("verdict", "changed"),
    [
        ("startup", {"CongAvoid": 0, "born": True, "seconds": 0.15}),
        ("congestion window", {"CongAvoid": 0, "born": True, "seconds": 0.2}),
        ("congestion window", {"CongAvoid": 0, "born": False, "seconds": 0.15}),
        ("congestion window", {"CongAvoid": 1, "born": True, "seconds": 0.15}),
    ],
)
def test_a_start_is_one_only_while_nothing_but_slow_start_was(
    verdict: str, changed: dict[str, Any]
) -> None:
    """Opened in the period, and most of its time is the handshake's and the doublings'."""
    assert judge(made(cwnd=0.8, startup=0.2, **changed)).name == verdict


@pytest.mark.parametrize(
    ("verdict", "changed"),
    [
        ("slow reader", {"CurAppRQueue": [80_000, 80_000, 0, 0]}),
        ("can't tell", {"CurAppRQueue": [80_000, 0, 0, 0, 0]}),
        ("receive buffer", {"HCThruOctetsReceived": 25_000_000}),
        ("can't tell", {"HCThruOctetsReceived": 24_000_000}),
    ],
)
def test_of_an_end_that_receives_only_what_it_does_itself_is_told(
    verdict: str, changed: dict[str, Any]
) -> None:
    """However its own sending is limited, and however much it sent again."""
    received: dict[str, Any] = {
        "HCDataOctetsOut": 1000,
        "HCThruOctetsReceived": 5_000_000,
        "CurRwinSent": [64_512] * 5,
    }
    judged = judge(made(cwnd=1, **LOST, **(received | changed)))
    assert judged.name == verdict
    assert judged.shares is None
    assert judged.also == ()


def test_duplicates_that_a_receiver_sends_are_told_beside_its_verdict() -> None:
    """They are of the path before it, and no reason to name this end."""
    judged = judge(made(snd=1, HCThruOctetsReceived=20_000_000, DataSegsIn=10_000, DupAcksOut=200))
    assert judged.name == "can't tell"
    assert [each.rule.name for each in judged.also] == ["holes"]


@pytest.mark.parametrize(
    ("reason", "changed"),
    [
        ("too even", {"snd": 0.5, "rwin": 0.5}),
        ("too even", {"snd": 0.57, "cwnd": 0.43}),
        ("too even", {"snd": 0.4, "cwnd": 0.2, "rwin": 0.2, "pace": 0.2}),
        ("79 % of the period", {"snd": 0.79}),
        ("125 % of the period", {"snd": 1.25}),
        ("0 % of the period", {}),
        ("one sample only", {"snd": 1, "seconds": 0}),
        ("9 data segments", {"cwnd": 1, "DataSegsOut": 9}),
        ("needs SndLimTimeSndUs", {"without": " ".join(LIMITS)}),
        ("needs DataSegsOut", {"snd": 1, "without": "DataSegsOut"}),
        ("needs HCDataOctetsOut", {"snd": 1, "without": "HCDataOctetsOut"}),
    ],
)
def test_what_cannot_be_told_is_said_with_its_reason(reason: str, changed: dict[str, Any]) -> None:
    """Rather than guessed; nothing is named as the source of that."""
    judged = judge(made(**changed))
    assert judged.name == "can't tell"
    assert reason in judged.sentence
    assert judged.finding is None
    assert judged.side is None


def test_without_the_senders_times_a_loss_is_told_all_the_same() -> None:
    """What a poll of inet_diag knows is enough to say that segments were lost."""
    judged = judge(made(without=" ".join((*LIMITS, "CongSignals", "HCSumRTTUs")), SegsRetrans=50))
    assert judged.name == "can't tell"
    assert [each.rule.name for each in judged.also] == ["loss"]


def test_a_rule_that_could_not_be_asked_is_named_beside_the_verdict() -> None:
    """The path is certain; whether it was a queue is not."""
    judged = judge(made(cwnd=1, without="HCSumRTTUs"))
    assert judged.name == "congestion window"
    assert "HCSumRTTUs is unknown" in judged.sentence


def test_silence_is_idle_and_a_handshake_that_fails_is_not() -> None:
    """One SYN after the other is waited for; nothing at all has no cause."""
    quiet: dict[str, Any] = {"HCDataOctetsOut": 0, "DataSegsOut": 0, "CountRTT": 0}
    assert judge(made(snd=1, **quiet)).name == "idle"
    assert judge(Observed.still(5_000_000)).name == "idle"
    syns: dict[str, Any] = {
        "Timeouts": 1,
        "SubsequentTimeouts": 2,
        "CurRTOUs": [1_000_000, 4_000_000],
    }
    assert judge(made(startup=1, born=True, **quiet, **syns)).name == "timeouts"


def test_data_that_waits_at_a_standstill_is_not_idle() -> None:
    """Whose window is shut is told though no segment passed; so is who does not read here."""
    quiet: dict[str, Any] = {"HCDataOctetsOut": 0, "DataSegsOut": 0, "CountRTT": 0}
    shut: dict[str, Any] = {"CurAppWQueue": [100_000], "CurRwinRcvd": [0]}
    assert judge(made(rwin=1, **quiet, **shut)).name == "slow reader"
    here: dict[str, Any] = {"CurAppRQueue": [100_000], "CurRwinSent": [0]}
    judged = judge(made(snd=1, **quiet, **here))
    assert (judged.name, judged.side) == ("slow reader", Side.HERE)
    assert judge(made(snd=1, **quiet, CurAppRQueue=[5])).name == "idle"
    no_news: dict[str, Any] = {"CurAppWQueue": [100_000], "CurRwinRcvd": [500_000]}
    assert "0 data segments" in judge(made(cwnd=1, **quiet, **no_news)).sentence


def test_one_without_a_sample_in_the_period_is_judged_by_what_it_stands_at() -> None:
    """A sample comes only if something changes, and a standstill changes nothing."""
    stands = {"LimState": 2, "CurAppWQueue": 100_000, "CurRwinRcvd": 0, "CurMSS": MSS}
    values = [stands.get(v.name, 0 if v.kind is Kind.COUNTER else None) for v in VARIABLES]
    judged = judge(Observed.still(5_000_000, values))
    assert (judged.name, judged.share) == ("slow reader", 1)
    assert judge(Observed.still(5_000_000, [None] * len(VARIABLES))).name == "idle"


def test_what_else_holds_is_told_once_and_not_the_verdict_again() -> None:
    """A small MSS is named before the loss, which is told beside it."""
    judged = judge(made(cwnd=1, **LOST, CurMSS=[204]))
    assert [judged.name, *(each.rule.name for each in judged.also)] == ["small MSS", "loss"]


def test_shares_add_up_and_deferral_goes_to_the_larger_window() -> None:
    """A burst waits where a window is nearly used up."""
    found = shares(made(cwnd=0.1, rwin=0.5, tsodefer=0.1, startup=0.05, snd=0.15, pace=0.1))
    assert sum(found.values()) == pytest.approx(1)
    assert found[Side.RECEIVER] == pytest.approx(0.6)
    assert found[Side.PATH] == pytest.approx(0.15)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.name} of {r.sides[:1]}")
def test_a_rule_needs_no_more_than_it_says(rule: Any) -> None:
    """With just its needs, and a period, measure and sentence can be had; zeros are no trouble."""
    full = made(snd=1)
    for zero in (False, True):
        few = Observed(
            length_us=full.length_us,
            grown={n: v * (not zero) for n, v in full.grown.items() if n in rule.needs},
            seen={
                n: Spread([(0, 0)]) if zero else v for n, v in full.seen.items() if n in rule.needs
            },
        )
        assert not few.lacks(rule.needs)
        measure = rule.measure(few)
        if not zero or (measure is not None and measure >= rule.threshold):
            assert rule.sentence(few).endswith(".")
