"""What is written on the command line becomes a setting and a value, or an error with a cure."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tuning.settings
from bpf.errors import UsageError
from tests.tuning.states import FRESH, state
from tuning.settings import (
    ALONG,
    BY_WORD,
    NOT_RESTORED,
    SETTINGS,
    parse,
    parse_value,
    require_available,
    restored,
)

WORDS = st.text(st.characters(max_codepoint=0x2FF), max_size=12)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("LimCwnd=100000", "LimCwnd", 100_000),
        ("limcwnd = Unlimited", "LimCwnd", "unlimited"),
        ("LimRwin=64Ki", "LimRwin", 65_536),
        ("limrwin=1.5M", "LimRwin", 1_500_000),
        ("rcvbuf=64KB", "rcvbuf", 64_000),
        ("SndBuf=1g", "sndbuf", 1_000_000_000),
        ("pacing=10M", "pacing", 10_000_000),
        ("pacing=80Mbit", "pacing", 10_000_000),
        ("pacing=1.5gbit", "pacing", 187_500_000),
        ("congestion=bbr", "congestion", "bbr"),
        ("notsent-lowat=16384", "notsent-lowat", 16_384),
        ("notsent-lowat=default", "notsent-lowat", "default"),
        ("rcvbuf-autotuning=OFF", "rcvbuf-autotuning", "off"),
    ],
)
def test_names_are_taken_in_any_case_and_numbers_with_units(
    text: str, name: str, value: object
) -> None:
    """Decimal ones, binary ones, and bits where it is a rate."""
    setting, found = parse(text)
    assert (setting.name, found) == (name, value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("LimMSS=1000", ("LimMSS cannot be set", "TCP_MAXSEG", "advmss")),
        ("limssthresh=9", ("LimSsthresh cannot be set", "ssthresh N")),
        ("CurCwnd=9", ("CurCwnd is what a connection does", "What can be set: LimCwnd")),
        ("SegsOut", ("SegsOut is what a connection does",)),
        ("nonsense=1", ("there is nothing to be set by the name 'nonsense'",)),
        ("=1", ("there is nothing to be set by the name ''",)),
        ("pacing", ("has no value", "pacing=VALUE (octets/s)")),
        ("pacing=", ("has no value",)),
        ("pacing=999", ("out of range", "1000", "or is unlimited")),
        ("pacing=35G", ("out of range",)),
        ("LimRwin=0", ("out of range",)),
        ("LimRwin=2G", ("out of range", "1073725440")),
        ("rcvbuf=-1", ("is no number of octets",)),
        ("rcvbuf=80Mbit", ("is no number of octets",)),
        ("rcvbuf=unlimited", ("is no number of octets",)),
        ("rcvbuf=1e6", ("is no number of octets",)),
        ("LimCwnd=4294967295", ("out of range",)),
        ("sndbuf-autotuning=1", ("neither on nor off",)),
        ("congestion=a b", ("is no name of a congestion control", "Loaded are ")),
        ("congestion=../../x", ("is no name",)),
        ("congestion=" + "x" * 16, ("is no name",)),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_cure(text: str, words: tuple[str, ...]) -> None:
    """What it is about, why, and what does it instead."""
    with pytest.raises(UsageError) as caught:
        parse(text)
    for word in words:
        assert word in f"{caught.value.message} {caught.value.advice}"


@given(st.sampled_from(SETTINGS), WORDS)
def test_any_text_is_a_value_in_range_or_an_error(setting: object, text: str) -> None:
    """Whatever is let through, the kernel's option can hold."""
    assert isinstance(setting, tuning.settings.Setting)
    try:
        value = parse_value(setting, text)
    except UsageError:
        return
    if isinstance(value, int):
        assert setting.least <= value <= setting.most
    if setting.option is not None:
        number = setting.number(value)
        assert len(number) < 16 if isinstance(number, str) else 0 <= number < 2**32


def test_a_congestion_control_has_to_be_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program cannot have a module loaded; a host that hides the list is asked itself."""
    known = tmp_path / "known"
    monkeypatch.setattr(tuning.settings, "_AVAILABLE", known)
    require_available("vegas")
    known.write_text("reno cubic\n")
    require_available("cubic")
    with pytest.raises(UsageError, match="has loaded no congestion control 'vegas'") as caught:
        require_available("vegas")
    assert (
        caught.value.advice == "Loaded are reno, cubic. Others may be modules: modprobe tcp_vegas."
    )


def test_a_state_is_read_in_the_units_that_are_written() -> None:
    """Limits that are none are words."""
    read = {setting.name: setting.read(FRESH) for setting in SETTINGS}
    assert read == {
        "LimCwnd": "unlimited",
        "LimRwin": 65536,
        "rcvbuf": 131072,
        "sndbuf": 87040,
        "rcvbuf-autotuning": "on",
        "sndbuf-autotuning": "on",
        "congestion": "cubic",
        "pacing": "unlimited",
        "notsent-lowat": "default",
    }
    other = state(cwnd=3, locks=2, pacing=10**6, lowat=2**32 - 1, ssthresh=3, is_paced=True)
    read = {setting.name: setting.read(other) for setting in SETTINGS}
    assert (read["LimCwnd"], read["pacing"], read["notsent-lowat"]) == (4344, 10**6, "unlimited")
    assert (read["rcvbuf-autotuning"], read["sndbuf-autotuning"]) == ("off", "on")
    assert {name: told(other) for name, told in ALONG.items()} == {
        "CurSsthresh": 4344,
        "kernel-pacing": "on",
    }


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_what_was_read_can_be_restored(setting: tuning.settings.Setting) -> None:
    """Also what an owner had set beyond what is offered here; and nothing that was never read."""
    for each in (FRESH, state(cwnd=1, pacing=5, lowat=1, locks=3, rcvbuf=2305, rwin=2**31)):
        value = setting.read(each)
        assert restored(setting, str(value)) == value
    for text in ("", "x y", "-1", "4294967296", "1" * 30, "\x1b[m"):
        with pytest.raises(ValueError, match="is no value of"):
            restored(setting, text)


def test_a_buffer_is_asked_for_by_what_comes_of_it() -> None:
    """The kernel doubles what it is told."""
    assert BY_WORD["rcvbuf"].number(131072) == 65536
    assert BY_WORD["sndbuf"].number(7) == 4


def test_what_comes_along_says_why_it_stays() -> None:
    """Each of them, and it is nothing that can be set."""
    assert ALONG.keys() == NOT_RESTORED.keys()
    assert not ALONG.keys() & {setting.name for setting in SETTINGS}
