"""The unit file: systemd understands it, and it says what the collector needs."""

import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from bpf.cache import FOLDER
from bpf.errors import EnvironmentLacksError, UsageError
from cli.app import application
from cli.options import SYSTEM_DATABASE

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "packaging" / "estats.service"


@pytest.fixture(scope="module")
def unit() -> dict[str, dict[str, list[str]]]:
    """Its sections, and the values of their keys."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in UNIT.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        if found := re.fullmatch(r"\[(\w+)\]", line):
            sections[found[1]] = defaultdict(list)
            continue
        key, equals, value = line.partition("=")
        assert equals and key.isalpha() and value, line
        list(sections.values())[-1][key].append(value)
    return sections


def one(unit: dict[str, dict[str, list[str]]], key: str) -> str:
    """The only value of a key of [Service]."""
    (value,) = unit["Service"][key]
    return value


def test_no_key_is_said_twice(unit: dict[str, dict[str, list[str]]]) -> None:
    """The second would add to the first, or take its place, as the key pleases."""
    assert list(unit) == ["Unit", "Service", "Install"]
    assert all(len(values) == 1 for section in unit.values() for values in section.values())


def test_the_command_is_one_of_ours(unit: dict[str, dict[str, list[str]]]) -> None:
    """Its options exist, and it writes where readers look."""
    program, command, *options = shlex.split(one(unit, "ExecStart"))
    assert program == "/opt/estats/.venv/bin/estats"
    commands = vars(typer.main.get_command(application()))["commands"]
    known = {name for p in commands[command].params for name in p.opts}
    assert {word for word in options if word.startswith("--")} <= known
    assert options[options.index("--db") + 1] == str(SYSTEM_DATABASE)
    assert CliRunner().invoke(application(), [command, "--help"]).exit_code == 0


def test_its_folders_are_those_it_may_write(unit: dict[str, dict[str, list[str]]]) -> None:
    """All else is read only; programs are kept only in a folder that is its own."""
    assert Path(one(unit, "ReadWritePaths")) == SYSTEM_DATABASE.parent
    assert Path("/var/cache", one(unit, "CacheDirectory")) == FOLDER
    assert one(unit, "CacheDirectoryMode") == "0700"
    assert one(unit, "ProtectSystem") == "strict"


def test_what_cannot_be_cured_by_trying_is_not_tried(
    unit: dict[str, dict[str, list[str]]],
) -> None:
    """A wrong option, and a host that cannot do it."""
    codes = {UsageError.exit_code, EnvironmentLacksError.exit_code}
    assert set(map(int, one(unit, "RestartPreventExitStatus").split())) == codes
    assert (one(unit, "Type"), one(unit, "Restart")) == ("notify", "on-failure")
    assert one(unit, "WatchdogSec")


def test_systemd_understands_it(tmp_path: Path) -> None:
    """Every line of it, with a program that is there in place of the installed one."""
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not here")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/estats/.venv/bin/estats", sys.executable))
    done = subprocess.run([verify, "verify", copy], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if UNIT.name in line or "estats" in line]
    assert (done.returncode, said) == (0, []), done.stderr


def test_the_unit_filters_system_calls(unit: dict[str, dict[str, list[str]]]) -> None:
    """Those of a service, bpf(2), and those by which writer and workers give up what they may."""
    wanted, *more = one(unit, "SystemCallFilter").split()
    assert (wanted, more[0]) == ("@system-service", "bpf")
    assert all(call.startswith("landlock_") for call in more[1:])
    assert one(unit, "NoNewPrivileges") == "yes"


def test_the_unit_makes_no_file_setuid(unit: dict[str, dict[str, list[str]]]) -> None:
    """Nor does what a start leaves in the folder for temporary files stay."""
    assert one(unit, "RestrictSUIDSGID") == "yes"
    assert one(unit, "PrivateTmp") == "yes"


def test_who_compiles_needs_no_more_than_the_right_to_make_maps(
    unit: dict[str, dict[str, list[str]]],
) -> None:
    """Without CAP_BPF it would keep CAP_SYS_ADMIN."""
    assert "CAP_BPF" in one(unit, "CapabilityBoundingSet").split()
