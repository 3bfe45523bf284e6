"""Source to bytecode: the only file that imports bcc.

Compiling is done in children, because LLVM stays in memory once it is loaded, and in two of them
where there are two CPUs: it is the longest part of a start. What they send back is plain. They are
as little as workers are, but for the right to make maps, which bcc makes of the source.
"""

import contextlib
import ctypes as ct
import errno
import hashlib
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from bpf import btf as types_of_kernel
from bpf import bytecode, children, credentials, kernel_tree, landlock, maps, scratch, syscall
from bpf.btf import VMLINUX, Btf
from bpf.bytecode import Bytecode, MapSpec
from bpf.credentials import Capability
from bpf.errors import EnvironmentLacksError

#: Whoever opens, closes and sweeps is compiled apart from whoever looks at segments. Each part
#: reads the header, and code that both use is compiled twice; so divided, both take as long.
_APART: Final = frozenset(
    ("on_inet_sock_set_state", "on_tcp_destroy_sock", "on_backfill", "on_sweep", "on_census")
)
_FLAGS: Final = (
    *("-D_UAPI__LINUX_BPF_H__", "-DBPF_NO_PRESERVE_ACCESS_INDEX", "-Wno-visibility"),
    # bcc runs LLVM's passes itself, after clang: once is enough, and a quarter of the time.
    *("-Xclang", "-disable-llvm-passes"),
)
#: Folders in which clang, bcc and Python may look for something, whether they need it or not.
_READABLE: Final = ("/usr", "/lib", "/lib64", "/etc", "/sys")
#: Of the answer of a child; the programs of all tables take 200 kB.
_ANSWER_BYTES_MAX: Final = 16 << 20


def key(text: str, defines: Mapping[str, int], functions: Sequence[str]) -> str:
    """A name for what will be made of this: another name if anything that goes in is another.

    That is the source, this kernel with its types, our own way of compiling, and bcc. Of bcc it is
    the version; a newer clang under the same bcc is not asked for, for asking takes loading it, and
    what the older one made is still right.
    """
    ours = (__file__, kernel_tree.__file__, types_of_kernel.__file__, bytecode.__file__)
    parts = (
        text.encode(),
        json.dumps(dict(defines), sort_keys=True).encode(),
        json.dumps(sorted(functions)).encode(),
        json.dumps([os.uname().release, os.uname().machine]).encode(),
        VMLINUX.read_bytes(),
        _version_of_bcc(),
        *(Path(path).read_bytes() for path in ours),
    )
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def _version_of_bcc() -> bytes:
    """The file that says it, without importing bcc; empty where there is none."""
    found = importlib.util.find_spec("bcc")
    if found is None or found.origin is None:
        return b""
    try:
        return Path(found.origin).with_name("version.py").read_bytes()
    except OSError:
        return b""


def parts(functions: Sequence[str], cpus: int) -> list[list[str]]:
    """What is compiled at the same time, each list by a process of its own."""
    if cpus == 1:
        return [list(functions)]
    apart = [function for function in functions if function in _APART]
    others = [function for function in functions if function not in _APART]
    return [part for part in (apart, others) if part]


def compile_programs(
    btf: Btf, text: str, defines: Mapping[str, int], functions: Sequence[str]
) -> Bytecode:
    """The programs of these C functions. Raises EnvironmentLacksError where that cannot be done."""
    running: list[_Child] = []
    with scratch.folder() as folder:
        try:
            for number, part in enumerate(parts(functions, len(os.sched_getaffinity(0)))):
                making = {**defines, **{f"ESTATS_MAKE_{function}": 1 for function in part}}
                tree = folder / str(number)
                running.append(_Child(part, partial(_compile, tree, btf, text, making, part)))
            return bytecode.joined([child.answer() for child in running])
        finally:
            for child in running:
                child.end()


class _Child:
    """A process that compiles one part, and sends what it made through a pipe."""

    def __init__(self, functions: Sequence[str], work: Callable[[], Bytecode]) -> None:
        self._functions = functions
        self._pipe, theirs = os.pipe()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            children.die_with(parent)
            _work(theirs, work)
        os.close(theirs)

    def answer(self) -> Bytecode:
        """Wait for it. Raises EnvironmentLacksError with its words if it failed."""
        with open(self._pipe, "rb", closefd=False) as pipe:
            said = pipe.read(_ANSWER_BYTES_MAX)
        if len(said) == _ANSWER_BYTES_MAX:
            raise _no_answer("it is too long")
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        if status:
            raise EnvironmentLacksError("the compiler of the kernel programs was killed")
        try:
            children.check(json.loads(said))
            made = bytecode.from_json(said)
            bytecode.check(made, self._functions)
        except (ValueError, LookupError, TypeError, AttributeError) as e:
            raise _no_answer(str(e)) from e
        return made

    def end(self) -> None:
        """Nobody waits for its answer any more: neither the process nor the pipe stays."""
        os.close(self._pipe)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _no_answer(reason: str) -> EnvironmentLacksError:
    """It has not the rights of who asked, and so is not believed."""
    return EnvironmentLacksError(
        f"the compiler of the kernel programs did not answer with programs: {reason}",
        "please report this line together with `uname -r`; --source diag works meanwhile",
    )


def _work(pipe: int, work: Callable[[], Bytecode]) -> NoReturn:
    """Nothing of bcc's own clean-up runs, for it takes long; the maps that it made go with us."""
    status = 1
    try:
        try:
            said = bytecode.as_json(work()).encode()
        except BaseException as e:  # (the parent reports it; there is nobody above)
            said = children.excuse(e, "compiling")
        with open(pipe, "wb") as file:
            file.write(said)
        status = 0
    finally:
        os._exit(status)


def _compile(
    tree: Path, btf: Btf, text: str, defines: Mapping[str, int], functions: Sequence[str]
) -> Bytecode:
    """In a child. BCC makes the maps, too: they tell what they are, and are gone with the child."""
    try:
        from bcc import BPF  # noqa: PLC0415  (LLVM: only in a child)
        from bcc.libbcc import lib  # noqa: PLC0415
    except ImportError as e:
        raise EnvironmentLacksError(
            f"bcc cannot be imported by {sys.executable}",
            "install it from the distribution (Debian: apt-get install python3-bpfcc) and use a"
            " virtual environment made from the distribution's python3 with"
            " --system-site-packages",
        ) from e
    os.umask(0o022)  # it is read by somebody else
    tree.mkdir()
    kernel_tree.write(tree, btf)
    os.environ["BCC_KERNEL_SOURCE"] = str(tree)
    _give_up(tree)
    flags = [*(f"-D{name}={value}" for name, value in defines.items()), *_FLAGS]
    with _stderr_kept() as diagnostics:
        try:
            made = BPF(text=text.encode(), cflags=flags)
        except Exception as e:
            raise _compile_error(diagnostics(), e) from e
    names = {lib.bpf_table_fd(made.module, name): name.decode() for name in _tables(lib, made)}
    codes = {function: made.dump_func(function.encode()) for function in functions}
    return Bytecode(
        _specs(names, text),
        {function: bytecode.lifted(code, names) for function, code in codes.items()},
    )


def _give_up(tree: Path) -> None:
    """With bcc imported and its folder filled, before it reads anything. Raises OSError.

    From here on this process changes no file, where the kernel has Landlock, and reads only what
    belongs to the system, to Python and to us. Among what it does not read is /proc/kallsyms, where
    bcc would look for the name of a helper that we do not call: a tenth of the time.
    """
    maps.unlock_memory()
    who = credentials.anonymous() if credentials.may_change_user() else None
    # To make maps: a service without CAP_BPF has the larger one in its place.
    may_make = credentials.held(frozenset((Capability.BPF,)))
    credentials.give_up(who, may_make or frozenset((Capability.SYS_ADMIN,)))
    landlock.restrict(None, (*map(Path, (*_READABLE, *sys.path)), tree))


def _tables(lib: ct.CDLL, made: Any) -> list[bytes]:
    """The maps of the source; bcc's Python has no call for that."""
    count = ct.CFUNCTYPE(ct.c_size_t, ct.c_void_p)(("bpf_num_tables", lib))
    name = ct.CFUNCTYPE(ct.c_char_p, ct.c_void_p, ct.c_size_t)(("bpf_table_name", lib))
    return [name(made.module, number) for number in range(count(made.module))]


def _specs(names: Mapping[int, str], text: str) -> dict[str, MapSpec]:
    """What the maps are: the kernel says it, but what an array of maps holds says the source."""
    inner = dict(re.findall(r'^BPF_ARRAY_OF_MAPS\((\w+), "(\w+)"', text, re.MULTILINE))
    specs: dict[str, MapSpec] = {}
    for fd, name in names.items():
        info = syscall.map_info(fd)
        specs[name] = MapSpec(
            kind=info.kind,
            key_bytes=info.key,
            value_bytes=info.value,
            entries=info.entries,
            flags=info.flags,
            inner=inner.get(name),
        )
    return specs


@contextlib.contextmanager
def _stderr_kept() -> Generator[Callable[[], str]]:
    """Clang writes its complaints to descriptor 2: keep them for the error's sentence."""
    saved = os.dup(2)
    with open(os.memfd_create("clang"), "rb") as file:
        os.dup2(file.fileno(), 2)
        try:
            yield lambda: os.pread(file.fileno(), 1 << 20, 0).decode(errors="replace")
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _compile_error(diagnostics: str, error: Exception) -> EnvironmentLacksError:
    lines = diagnostics.splitlines()
    if "not permitted" in " ".join(lines).lower():
        return syscall.refusal("", PermissionError(errno.EPERM, os.strerror(errno.EPERM)))
    telling = [line for line in lines if "error" in line.lower()] or lines[-3:] or [str(error)]
    return EnvironmentLacksError(
        f"bcc cannot make the kernel programs: {'; '.join(telling[:3])[:500]}",
        "please report this line together with `uname -r`; --source diag works meanwhile",
    )
