"""What a running collector takes of its host: memory, kernel memory, descriptors, disk."""

import json
import re
import sqlite3
from collections.abc import Generator, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.processes import Running, output

_OBJECT: Final = re.compile(r"^(map|prog|link)_id:\s*(\d+)$", re.MULTILINE)
_ROLLUP: Final = re.compile(r"^(\w+):\s*(\d+) kB$", re.MULTILINE)

#: A kind of BPF object, as bpftool calls it, and the object's number.
Object = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Octets of one process: resident, its share of what is resident, and of that no file's.

    The share of a page is less when others map it, too: it changes as *they* come and go. What
    lies in no file is the process's own, or its family's.
    """

    resident: int
    share: int
    own: int


def memory(pid: int) -> Memory:
    """Of a process, as of now. Raises ProcessLookupError or FileNotFoundError if it has ended."""
    said = dict(_ROLLUP.findall(Path(f"/proc/{pid}/smaps_rollup").read_text()))
    octets = {name: int(kilobytes) * 1024 for name, kilobytes in said.items()}
    own = octets["Pss_Anon"] + octets["Pss_Shmem"]
    return Memory(resident=octets["Rss"], share=octets["Pss"], own=own)


def kind_of(pid: int) -> str:
    """What a process of a collector does, by its name."""
    name = Path(f"/proc/{pid}/comm").read_text()
    return "writer" if "writer" in name else "workers" if "worker" in name else "supervisor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Octets, but for ``descriptors``, which are all processes' together.

    The processes' memory is proportional set size, which counts what they share once; ``maps`` is
    that of the kernel maps that they or their programs hold, rings included, without the sockets'
    own storage.
    """

    supervisor: int
    writer: int
    workers: int
    maps: int
    descriptors: int

    @property
    def processes(self) -> int:
        """All of them together."""
        return self.supervisor + self.writer + self.workers


def footprint(process: Running) -> Footprint:
    """Of a collector, as of now."""
    sizes = {"supervisor": 0, "writer": 0, "workers": 0}
    for pid in process.pids():
        sizes[kind_of(pid)] += memory(pid).share
    held = list(_descriptors(process.pids()))
    return Footprint(**sizes, maps=_maps("\n".join(held)), descriptors=len(held))


def database_octets(database: Path) -> int:
    """The database's size with all that is committed, wherever it lies."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as base:
        (pages,) = base.execute("PRAGMA page_count").fetchone()
        (octets,) = base.execute("PRAGMA page_size").fetchone()
        return int(pages) * int(octets)


def objects(pids: Iterable[int]) -> set[Object]:
    """The BPF objects that processes hold by descriptor."""
    return {(kind, int(number)) for kind, number in _OBJECT.findall("\n".join(_descriptors(pids)))}


def _descriptors(pids: Iterable[int]) -> Generator[str]:
    """What the kernel says of each of their descriptors."""
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fdinfo").iterdir():
            with suppress(FileNotFoundError):  # closed since
                yield descriptor.read_text()


def _maps(descriptors: str) -> int:
    """Octets of the maps that are held by descriptor, or by a program that is."""
    found = [(kind, int(number)) for kind, number in _OBJECT.findall(descriptors)]
    held = {number for kind, number in found if kind == "map"}
    for program in _listed("prog"):
        if ("prog", program["id"]) in found:
            held |= set(program.get("map_ids", ()))
    return sum(int(m.get("bytes_memlock", 0)) for m in _listed("map") if m["id"] in held)


def _listed(kind: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(output(["bpftool", "-j", kind, "show"]) or "[]")
    return listed
