"""Users and cgroups by name: a database has their numbers, which mean something on one host."""

import os
import pwd
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from bpf.errors import EnvironmentLacksError
from bpf.loader import cgroup_root

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Owners:
    """Names for the numbers of runs on this host, as they are now; numbers for all others."""

    def __init__(self, runs: Mapping[int, Mapping[str, Any]]) -> None:
        """``runs`` are rows of ``run``, by their number."""
        here, boot = os.uname().nodename, _BOOT.read_text(encoding="ascii").strip()
        self._here = {number for number, run in runs.items() if run["host"] == here}
        self._now = {number for number, run in runs.items() if run["boot_id"] == boot}

    def user(self, connection: Mapping[str, Any]) -> str | None:
        """Whose socket it is."""
        uid: int | None = connection["uid"]
        if uid is None or connection["run_id"] not in self._here:
            return None if uid is None else str(uid)
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    def cgroup(self, connection: Mapping[str, Any]) -> str | None:
        """Its cgroup, by which a service or a container is known; the root is ``/``."""
        number: int | None = connection["cgroup_id"]
        if number is None:
            return None
        found = self._cgroups.get(number) if connection["run_id"] in self._now else None
        return str(number) if found is None else found

    @cached_property
    def _cgroups(self) -> dict[int, str]:
        """The path of each cgroup by the number of its folder, which is its own."""
        try:
            root = cgroup_root()
        except EnvironmentLacksError:
            return {}
        return {
            os.stat(folder).st_ino: "/" + folder.removeprefix(str(root)).lstrip("/")
            for folder, _, _ in os.walk(root)
        }
