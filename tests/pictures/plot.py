"""Pictures of ``estats plot``: what was recorded of three uploads, each on a path of its own."""

import gzip
from pathlib import Path
from subprocess import run
from sys import executable
from tempfile import TemporaryDirectory
from typing import Final

from tests.kernel.collecting import HOME
from tests.pictures.recorded import RECORDED

#: The name of each picture, and what is asked for it; ports are those of tests.pictures.recorded.
_PICTURES: Final = (
    ("plot-loss", ("--dport", "7701")),
    ("plot-slow-reader", ("--dport", "7703", "--panel", "throughput,windows,limits")),
    ("plot-compared", ("--panel", "throughput,rtt,cwnd,limits")),
    (
        "plot-distribution",
        ("--distribution", "--history", "--var", "SmoothedRTTUs,HCDataOctetsOut"),
    ),
)


def write(folder: Path) -> None:
    """Write them as SVG; those that are there are made anew."""
    with TemporaryDirectory(prefix="estats-pictures-") as made:
        path = Path(made) / "recorded.db"
        unpack(path)
        for name, options in _PICTURES:
            out = folder / f"{name}.svg"
            out.unlink(missing_ok=True)
            argv = [
                executable,
                "-m",
                "estats",
                "plot",
                "--db",
                str(path),
                "--out",
                str(out.resolve()),
            ]
            run([*argv, *options], check=True, capture_output=True, cwd=HOME)
            out.chmod(0o644)


def unpack(path: Path) -> None:
    """The recorded database, of the schema of today."""
    path.write_bytes(gzip.decompress(RECORDED.read_bytes()))
    argv = [executable, "-m", "estats", "db", "upgrade", "--db", str(path)]
    run(argv, check=True, capture_output=True, cwd=HOME)
