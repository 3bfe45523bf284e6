"""What goes in is in the key; two children compile, and one that fails is told as one was."""

import importlib.util
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bpf import bytecode, compiler, kernel_tree
from bpf.btf import Btf
from bpf.bytecode import Bytecode, MapSpec, Program
from bpf.errors import EnvironmentLacksError
from bpf.probes import PROBES

FUNCTIONS = [probe.function for probe in PROBES]
SPEC = MapSpec(kind=1, key_bytes=8, value_bytes=792, entries=8192, flags=1)
PIPE_BYTES = 1 << 16  # what a pipe holds

Work = Callable[[Sequence[str], Mapping[str, int]], Bytecode]


def made_of(functions: Sequence[str], octets: int = 64) -> Bytecode:
    """What a part is said to have been compiled to."""
    return Bytecode({"finals": SPEC}, {f: Program(bytes(octets), ()) for f in functions})


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Compile on two CPUs with this work in place of bcc; no process, file or descriptor stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})

    def run(work: Work) -> Bytecode:
        def part(
            tree: Path, _btf: Btf, _text: str, defines: Mapping[str, int], functions: Sequence[str]
        ) -> Bytecode:
            tree.mkdir()
            return work(functions, defines)

        monkeypatch.setattr(compiler, "_compile", part)
        return compiler.compile_programs(Btf.__new__(Btf), "text", {"ESTATS_CPUS": 2}, FUNCTIONS)

    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text(), sorted(os.listdir("/proc/self/fd"))
    yield run
    assert (children.read_text(), sorted(os.listdir("/proc/self/fd"))) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cpus", [1, 2, 64])
def test_each_program_is_compiled_once(cpus: int) -> None:
    """By one process where there is one CPU, else by two."""
    parts = compiler.parts(FUNCTIONS, cpus)

    assert len(parts) == min(cpus, 2)
    assert sorted(function for part in parts for function in part) == sorted(FUNCTIONS)


def test_there_is_no_part_without_programs() -> None:
    """Whatever the tables need."""
    assert compiler.parts(["on_ingress"], 2) == [["on_ingress"]]
    assert compiler.parts(["on_sweep"], 2) == [["on_sweep"]]


def test_the_parts_make_a_whole(compiled: Any) -> None:
    """Each is told which programs are its own, and all else is the same for both."""

    def work(functions: Sequence[str], defines: Mapping[str, int]) -> Bytecode:
        assert defines == {"ESTATS_CPUS": 2, **{f"ESTATS_MAKE_{f}": 1 for f in functions}}
        return made_of(functions)

    assert compiled(work) == made_of(FUNCTIONS)


def test_a_result_may_be_larger_than_a_pipe(compiled: Any) -> None:
    """Of both: neither waits for the other to be read."""
    assert compiled(lambda functions, _: made_of(functions, PIPE_BYTES)) == made_of(
        FUNCTIONS, PIPE_BYTES
    )


@pytest.mark.parametrize("failing", ["on_sweep", "on_ingress"])
def test_an_error_in_either_is_told(compiled: Any, failing: str) -> None:
    """The sentence and the cure; nobody waits for the other one."""

    def work(functions: Sequence[str], _: Mapping[str, int]) -> Bytecode:
        if failing in functions:
            raise EnvironmentLacksError("bcc cannot be imported", "install it")
        if "on_ingress" in functions:
            time.sleep(60)
        return made_of(functions)

    began = time.monotonic()
    with pytest.raises(EnvironmentLacksError) as told:
        compiled(work)

    assert (told.value.message, told.value.advice) == ("bcc cannot be imported", "install it")
    assert time.monotonic() - began < 30


def foreign_descriptor(functions: Sequence[str]) -> Bytecode:
    """An instruction that refers to a descriptor of whoever loads it."""
    code = bytecode.INSTRUCTION.pack(0x18, 0x11, 0, 5) + bytes(8)
    return Bytecode({"finals": SPEC}, {f: Program(code, ()) for f in functions})


def map_of_nobody(functions: Sequence[str]) -> Bytecode:
    """A reference to a map that is not among its maps."""
    code = bytecode.INSTRUCTION.pack(0x18, 0x11, 0, 0) + bytes(8)
    return Bytecode({"finals": SPEC}, {f: Program(code, ((0, "other"),)) for f in functions})


def place_of_nothing(functions: Sequence[str]) -> Bytecode:
    """A reference where no instruction takes one."""
    return Bytecode({"finals": SPEC}, {f: Program(bytes(64), ((2, "finals"),)) for f in functions})


def half_an_instruction(functions: Sequence[str]) -> Bytecode:
    """Code whose end is missing."""
    return made_of(functions, 60)


def a_program_too_few(functions: Sequence[str]) -> Bytecode:
    """All but one."""
    return made_of(functions[1:])


@pytest.mark.parametrize(
    "answer",
    [
        foreign_descriptor,
        map_of_nobody,
        place_of_nothing,
        half_an_instruction,
        a_program_too_few,
    ],
)
def test_what_is_not_what_was_asked_for_is_refused(
    compiled: Any, answer: Callable[[Sequence[str]], Bytecode]
) -> None:
    """A child that has no rights is not believed by one that has."""
    with pytest.raises(EnvironmentLacksError, match="did not answer with programs: "):
        compiled(lambda functions, _: answer(functions))


@pytest.mark.parametrize("said", ["[]", "{}", "no JSON", '{"maps": {"a": 1}, "programs": {}}'])
def test_an_answer_of_another_form_is_refused(
    compiled: Any, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Whatever it is."""
    monkeypatch.setattr(bytecode, "as_json", lambda _: said)
    with pytest.raises(EnvironmentLacksError, match="did not answer with programs: "):
        compiled(lambda functions, _: made_of(functions))


def test_an_answer_without_an_end_is_refused(
    compiled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it takes all of the memory; who sends it is ended."""
    monkeypatch.setattr(compiler, "_ANSWER_BYTES_MAX", PIPE_BYTES)
    with pytest.raises(EnvironmentLacksError, match="it is too long"):
        compiled(lambda functions, _: made_of(functions, 4 * PIPE_BYTES))


def test_what_nobody_foresaw_is_told(compiled: Any) -> None:
    """Its kind and its words."""

    def work(*_: object) -> Bytecode:
        raise ZeroDivisionError("by zero")

    with pytest.raises(
        EnvironmentLacksError,
        match="compiling the kernel programs failed: ZeroDivisionError: by zero",
    ):
        compiled(work)


@pytest.mark.parametrize("dying", ["on_sweep", "on_ingress"])
def test_one_that_is_killed_is_told(compiled: Any, dying: str) -> None:
    """As by the kernel, when memory is short."""

    def work(functions: Sequence[str], _: Mapping[str, int]) -> Bytecode:
        if dying in functions:
            os.kill(os.getpid(), signal.SIGKILL)
        return made_of(functions)

    with pytest.raises(EnvironmentLacksError, match="compiler of the kernel programs was killed"):
        compiled(work)


def test_they_die_with_whoever_waits_for_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed or not, it leaves none of them behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def part(*_: object) -> Bytecode:
        (tmp_path / str(os.getpid())).touch()
        time.sleep(60)
        raise AssertionError("it should be dead")

    monkeypatch.setattr(compiler, "_compile", part)
    parent = os.fork()
    if parent == 0:
        try:
            compiler.compile_programs(Btf.__new__(Btf), "text", {}, FUNCTIONS)
        finally:
            os._exit(1)
    count = len(compiler.parts(FUNCTIONS, len(os.sched_getaffinity(0))))
    while len(pids := [p.name for p in tmp_path.iterdir() if p.name.isdecimal()]) < count:
        time.sleep(0.01)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)

    def alive(pid: str) -> bool:
        try:
            return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    end = time.monotonic() + 10
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < end, "a compiler outlived its parent"
        time.sleep(0.01)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file that holds this kernel's types."""
    types = tmp_path / "vmlinux"
    types.write_bytes(b"types")
    monkeypatch.setattr(compiler, "VMLINUX", types)
    return types


def test_another_source_or_other_constants_or_programs_are_another_key(kernel: Path) -> None:
    """The same is the same."""
    keys = {
        compiler.key(text, defines, functions)
        for _ in range(2)
        for text in ("int a;", "int b;")
        for defines in ({"ESTATS_CPUS": 2}, {"ESTATS_CPUS": 3}, {"ESTATS_CPUS": 2, "X": 1})
        for functions in (["on_sweep"], ["on_sweep", "on_census"])
    }

    assert len(keys) == 12


def test_another_kernel_or_bcc_is_another_key(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its types, by its name; bcc by its version."""

    def key() -> str:
        return compiler.key("int a;", {}, ["on_sweep"])

    keys = [key()]
    kernel.write_bytes(b"other types")
    keys.append(key())
    monkeypatch.setattr(compiler, "_version_of_bcc", lambda: b"0.99")
    keys.append(key())
    release = os.uname().release
    uname = os.uname_result(("Linux", "host", f"{release}-other", "#1", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: uname)
    keys.append(key())

    assert len(set(keys)) == len(keys)


def test_our_own_way_of_compiling_is_in_the_key(
    kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the stand-in for kernel headers changes what is made of the same source."""
    before = compiler.key("int a;", {}, ["on_sweep"])
    changed = tmp_path / "kernel_tree.py"
    changed.write_text("# changed")
    monkeypatch.setattr(kernel_tree, "__file__", str(changed))

    assert compiler.key("int a;", {}, ["on_sweep"]) != before


def test_a_host_without_bcc_has_a_key(kernel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it lacks, the compiler tells."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert compiler.key("int a;", {}, ["on_sweep"])


def sources(pattern: str = "*.bpf.c") -> str:
    """All of the kernel side."""
    return "\n".join(path.read_text() for path in Path(compiler.__file__).parent.glob(pattern))


def test_every_function_is_inlined() -> None:
    """What is marked is inlined by bcc, and nothing else; what is called cannot be loaded."""
    functions = re.findall(r"^static .*\(", sources(), re.MULTILINE)

    assert len(functions) > 50
    assert [f for f in functions if not f.startswith("static __always_inline ")] == []


def test_every_program_can_be_left_out() -> None:
    """Each stands in the source between the words that choose it."""
    text = sources("[!t]*.bpf.c")  # that of `estats tune` is alone in its source

    for function in FUNCTIONS:
        assert f"#ifdef ESTATS_MAKE_{function}\nint {function}(" in text
    assert text.count("\nint on_") == len(FUNCTIONS)
