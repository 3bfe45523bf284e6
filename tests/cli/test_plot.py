"""estats plot: what it draws in a terminal and in files, and what it refuses."""

import os
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from cli.sheet import keep
from storage.writer import Writer
from tests.cli.conftest import Estats
from tests.cli.story import ACTIVE, ALL, connection, one_run, snapshot
from tests.samples import Samples

ROOT = Path(__file__).resolve().parents[2]
MSS = 1000
FORMULA = b"$x^2$<&>"


def _values(second: int) -> dict[str, int]:
    return {
        "HCDataOctetsOut": 125_000 * second,
        "HCDataOctetsIn": 0,
        "CurMSS": MSS,
        "CurCwndSegs": 10 * second,
        "CurSsthreshSegs": 2**31 - 1 if second < 4 else 20,
        "SmoothedRTTUs": 20_000,
        "MinRTTUs": 10_000,
        "SegsRetrans": 3 if second >= 4 else 0,
        "CongSignals": 1 if second >= 4 else 0,
        "Timeouts": 0,
        "CurRwinRcvd": 60_000,
        "CurRwinSent": 30_000,
        "CurRetxQueue": 5000,
        "SndLimTimeSndUs": 0,
        "SndLimTimeCwndUs": 1_000_000 * second,
        "SndLimTimeRwinUs": 0,
        "SndLimTimeStartupUs": 0,
        "SndLimTimeTSODeferUs": 0,
        "SndLimTimePaceUs": 0,
    }


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds of an upload and of one with a name to be wary of; two snapshots miss."""
    path = tmp_path_factory.mktemp("plot") / "past.db"
    writer = Writer(path, one_run(0, ALL, {}))
    told = Samples()
    born = [
        connection(1, ("10.0.0.1", 40000), ("10.0.0.2", 5001), ACTIVE, opened=0, owner=(42, b"up")),
        connection(2, ("10.0.0.1", 40001), ("10.0.0.2", 80), ACTIVE, opened=0, owner=(43, FORMULA)),
    ]
    for second in (1, 2, 3, 4, 7, 8):
        values = {1: _values(second)} | ({2: _values(second)} if second in (1, 8) else {})
        writer.write(snapshot(second, told.of(values), born if second == 1 else ()))
    writer.close("stopped")
    return path


WINDOW = """\
1  10.0.0.1:40000 to 10.0.0.2:5001  up[42]

Congestion window [kB]  * cwnd  o ssthresh
     80 +                                                                      *
        |                                                              *********
     60 +
        |
     40 +                          **********
     20 +                 **********                                   ooooooooo
        |        **********
      0 +
        +-----------------------------------x??????????????????-----------------
     22:13:20         22:13:22          22:13:24          22:13:26      22:13:28
         2023-11-14, UTC
         x segments were sent again; ? nobody looked
"""


def test_a_panel_in_eighty_columns_of_ascii(
    estats: Estats, past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps, a break where nobody looked, what was lost; the infinite threshold is not there."""
    monkeypatch.setattr("cli.sheet._has_unicode", lambda: False)
    answer = estats("plot", "--db", past, 1, "--panel", "cwnd")
    assert answer.code == 0, answer.err
    assert answer.out == WINDOW
    assert answer.out.isascii()
    assert max(map(len, answer.out.splitlines())) <= 80


def test_piped_text_has_no_colours_and_a_terminal_may_refuse_them(
    estats: Estats, past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$NO_COLOR is heard; what is no terminal needs no asking."""
    assert "\x1b" not in estats("plot", "--db", past, 1).out
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    coloured = estats("plot", "--db", past, 1).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in estats("plot", "--db", past, 1).out
    assert coloured.isprintable() is False


def test_all_panels_are_there_unless_some_are_named(estats: Estats, past: Path) -> None:
    """And a variable has a panel of its own."""
    out = estats("plot", "--db", past, 1).out
    titles = ("Throughput [Mbit/s]", "Round trip [ms]", "Congestion window [kB]", "Losses",
              "Windows [kB]", "Limited by [% of the time]")  # fmt: skip
    assert all(title in out for title in titles)
    one = estats("plot", "--db", past, 1, "--var", "CurRetxQueue,SegsRetrans").out
    assert "CurRetxQueue [kB]" in one and "SegsRetrans [segments/s]" in one
    assert "Throughput" not in one


def test_several_are_compared_most_moved_first(estats: Estats, past: Path) -> None:
    """--limit shortens, and what is left out is said."""
    out = estats("plot", "--db", past).out
    assert "* 1  10.0.0.1:40000" in out and "o 2  10.0.0.1:40001" in out
    answer = estats("plot", "--db", past, "--limit", 1)
    assert "1 more" in answer.err and "10.0.0.1:40001" not in answer.out
    assert estats("plot", "--db", past, "--limit", 8).code == 2


def test_a_distribution_states_how_many_and_its_quantiles(estats: Estats, past: Path) -> None:
    """Of the connections as they stand, or with --history of all their time."""
    out = estats("plot", "--db", past, "--distribution", "--var", "CurCwnd").out
    assert "CurCwnd of 2 connections" in out
    assert "median" in out
    over = estats("plot", "--db", past, "--distribution", "--history", "--var", "CurCwnd").out
    assert "CurCwnd of all time of 2 connections" in over
    grown = estats("plot", "--db", past, "--distribution", "--var", "HCDataOctetsOut").out
    assert "Growth of HCDataOctetsOut of 2 connections" in grown and "MB" in grown
    unknown = estats("plot", "--db", past, "--distribution", "--var", "IpTtl").out
    assert "2 without a value" in unknown and "nothing is known" in unknown


@pytest.mark.parametrize("options", [(), ("--distribution",), ("--var", "State")])
def test_pictures_are_made_and_always_the_same(
    estats: Estats, past: Path, options: tuple[str, ...]
) -> None:
    """SVG is XML without a date; a file is its owner's alone."""
    for name in ("a.svg", "b.svg", "a.png"):
        answer = estats("plot", "--db", past, *options, "--out", name)
        assert answer.code == 0, answer.err
    assert Path("a.svg").read_bytes() == Path("b.svg").read_bytes()
    assert ET.fromstring(Path("a.svg").read_text()).tag.endswith("svg")  # noqa: S314  (our own)
    assert "dc:date" not in Path("a.svg").read_text()
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(Path("a.svg").stat().st_mode) == 0o600


def test_a_name_is_no_formula_and_no_markup(estats: Estats, past: Path) -> None:
    """It stands in the picture as it is."""
    assert estats("plot", "--db", past, 2, "--out", "a.svg").code == 0
    assert "$x^2$&lt;&amp;&gt;[43]" in Path("a.svg").read_text()


def test_a_hostile_name_steers_no_terminal(estats: Estats, story: Path) -> None:
    """Nor does it reach a picture."""
    out = estats("plot", "--db", story, 4).out
    assert "\x1b" not in out and r"\x1b]0;owned\x07" in out
    assert estats("plot", "--db", story, 4, "--out", "a.svg").code == 0
    assert "\x1b" not in Path("a.svg").read_text()


def test_what_is_there_is_not_overwritten_and_no_link_is_followed(
    estats: Estats, past: Path, tmp_path: Path
) -> None:
    """Whoever runs it; also if it comes to be there meanwhile."""
    there, link = tmp_path / "there.svg", tmp_path / "link.svg"
    there.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere.svg")
    for each in (there, link):
        answer = estats("plot", "--db", past, "--out", each)
        assert (answer.code, "is there already" in answer.err) == (2, True)
        with pytest.raises(Exception, match="is there already"):
            keep(each, b"x")
    assert there.read_text() == "mine"
    assert not (tmp_path / "elsewhere.svg").exists()
    answer = estats("plot", "--db", past, "--out", tmp_path / "no" / "a.svg")
    assert (answer.code, "No such file" in answer.err) == (4, True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "a.pdf"), "what kind of picture"),
        (("--panel", "rtts"), "there is no panel 'rtts'"),
        (("--var", "LocalAddress"), "no size to be drawn"),
        (("--var", "SndNxt"), "no size to be drawn"),
        (("--distribution", "--panel", "rtt"), "a panel has no distribution"),
        (("--history",), "--history is about --distribution"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(
    estats: Estats, past: Path, options: tuple[str, ...], words: str
) -> None:
    """With what would make sense."""
    answer = estats("plot", "--db", past, *options)
    assert (answer.code, words in answer.err) == (2, True)
    assert list(Path().iterdir()) == []


def test_without_matplotlib_the_cure_is_told_and_the_terminal_works(
    estats: Estats, past: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an extra."""
    monkeypatch.setattr("cli.sheet.can_draw", lambda: False)
    answer = estats("plot", "--db", past, "--out", "a.svg")
    assert (answer.code, "pip install" in answer.err) == (3, True)
    assert estats("plot", "--db", past).code == 0


def test_nothing_that_matches_is_said(estats: Estats, past: Path) -> None:
    """As other commands do."""
    for options in ((), ("--distribution",), ("--distribution", "--history")):
        answer = estats("plot", "--db", past, "--dport", 9, *options)
        assert (answer.code, answer.out) == (0, "")
        assert "no connection matches" in answer.err


def test_two_runs_and_what_is_unknown_are_drawn(estats: Estats, story: Path) -> None:
    """A killed run, connections older than the collector, counters that wrap."""
    answer = estats("plot", "--db", story)
    assert answer.code == 0, answer.err
    assert "░ nobody looked" in answer.out
    assert "Round trip: nothing is known" in answer.out


def test_settings_and_homes_of_others_do_not_matter(
    estats: Estats, past: Path, tmp_path: Path
) -> None:
    """A matplotlibrc of the folder changes nothing, and a home that is none gets nothing."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nlines.linewidth: 9\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "XDG"))}
    out = tmp_path / "out.svg"
    subprocess.run(
        [sys.executable, str(ROOT / "estats.py"), "plot", "--db", past, "1", "--out", out],
        cwd=tmp_path, env={**environment, "HOME": "/proc/1/none"}, check=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    there = out.read_bytes()
    out.unlink()
    (tmp_path / "matplotlibrc").unlink()
    assert estats("plot", "--db", past, 1, "--out", out).code == 0
    assert out.read_bytes() == there
    assert [p.name for p in tmp_path.iterdir()] == ["out.svg"]


def test_the_help_of_estats_does_not_load_what_draws() -> None:
    """What draws takes longer to load than anything else here."""
    code = "import sys, cli.app; cli.app.application(); sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
