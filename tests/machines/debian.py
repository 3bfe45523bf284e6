"""Debian's kernels: the newest package of a series, downloaded and unpacked, not installed."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel: ``root`` holds its boot/ and lib/modules/."""

    package: str
    root: Path

    @property
    def image(self) -> Path:
        """What is booted."""
        (image,) = (self.root / "boot").glob("vmlinuz-*")
        return image


def newest(series: str, packages: str) -> str:
    """The newest kernel of a series (``6.1``) among ``packages``, one a line, the name first.

    Not the cloud flavour, which lacks the file system of emulated machines, nor the real-time one.
    Raises LookupError where there is none.
    """
    plain = re.compile(rf"linux-image-{re.escape(series)}[.][0-9.]+(?:-\d+|\+deb\d+)-amd64")
    names = [line.split()[0] for line in packages.splitlines() if line.strip()]
    if not (fitting := [name for name in names if plain.fullmatch(name)]):
        raise LookupError(
            f"Debian offers no kernel {series} here: apt-get update, or its backports"
        )
    return max(fitting, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def unpacked(series: str, folder: Path) -> Kernel:
    """The newest kernel of a series, in a folder of its own in ``folder``."""
    known = ["apt-cache", "search", "--names-only", f"^linux-image-{re.escape(series)}"]
    packages = subprocess.run(known, capture_output=True, text=True, check=True).stdout
    package = newest(series, packages)
    download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", package]
    subprocess.run(download, check=True, cwd=folder)
    (archive,) = folder.glob(f"{package}_*.deb")
    kernel = Kernel(package, folder / package)
    subprocess.run(["dpkg", "-x", archive, kernel.root], check=True)
    archive.unlink()
    # The little system that mounts the root file system can only load what is not compressed.
    packed = [str(path) for path in kernel.root.rglob("*.ko.xz")]
    for start in range(0, len(packed), 500):
        subprocess.run(["xz", "--decompress", *packed[start : start + 500]], check=True)
    return kernel
