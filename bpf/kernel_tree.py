"""A folder that BCC takes for kernel headers: one header made from BTF and a handful of stubs."""

import mmap
import os
import platform
import re
from pathlib import Path
from typing import Final

from bpf.btf import Btf, Kind

#: What our programs and BCC's own helpers.h name; everything these need comes along.
_TYPEDEFS: Final = "u8 u16 u32 u64 s8 s16 s32 s64 size_t uintptr_t"
_ENUMS: Final = "bpf_func_id bpf_map_type"
_STRUCTS: Final = (
    "tcp_sock tcp_congestion_ops sk_buff tcp_skb_cb tcphdr net cgroup kernfs_node task_struct"
    " __sk_buff bpf_sock bpf_iter_meta bpf_iter__tcp bpf_iter__bpf_sk_storage_map"
    " pt_regs bpf_stack_build_id"
)

#: The structs we look into. libbpf's printer has been seen to lay one out otherwise than the kernel
#: does (netns_ipv4 with its cache-line groups): better refused at compile time than read wrongly.
_MEASURED: Final = (
    "tcp_sock",
    "tcp_congestion_ops",
    "inet_connection_sock",
    "inet_sock",
    "sock",
    "sock_common",
    "sk_buff",
    "tcp_skb_cb",
    "net",
    "netns_ipv4",
    "task_struct",
    "cgroup",
    "kernfs_node",
)

#: What kernel headers would bring and BTF cannot: flags that BCC's macros name and that stand in
#: enums without a name, and words of the kernel's C. Functions that are inlined go without debug
#: information: nobody reads it, and LLVM would take a seventh of a compilation to carry it along.
_WORDS: Final = """\
#define BPF_F_NO_PREALLOC 1U
#define BPF_ANY 0
#define true 1
#define false 0
#undef __always_inline
#define __always_inline inline __attribute__((always_inline, nodebug))
"""

_WHOLE_WORDS: Final = {("long", "64"), ("int", "32"), ("short", "16"), ("char", "8")}

_CONFIG: Final = {"x86_64": "CONFIG_X86_64", "aarch64": "CONFIG_ARM64"}


def write(root: Path, btf: Btf) -> None:
    """Fill ``root`` with the stand-in tree of the running kernel."""
    release = re.match(r"(\d+)\.(\d+)\.?(\d+)?", os.uname().release)
    version = [int(part or 0) for part in release.groups()] if release else [0, 0, 0]
    code = (version[0] << 16) + (version[1] << 8) + min(version[2], 255)
    config = _CONFIG.get(platform.machine())
    files = {
        "include/linux/kconfig.h": "#define CONFIG_BPF_SYSCALL 1\n"
        + (f"#define {config} 1\n" if config else ""),
        "include/linux/version.h": "#define KERNEL_VERSION(a, b, c)"
        " (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))\n"
        f"#define LINUX_VERSION_CODE {code}\n",
        "include/asm/page.h": f"#define PAGE_SIZE {mmap.PAGESIZE}\n",
        "include/linux/log2.h": "",
        "include/linux/types.h": "",
        "include/uapi/linux/bpf.h": "",
        # The first header that BCC's helpers.h takes and that we do not need: the door for ours.
        "include/uapi/linux/if_packet.h": header(btf),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _types() -> list[tuple[str, Kind]]:
    return [
        (name, kind)
        for names, kind in (
            (_TYPEDEFS, Kind.TYPEDEF),
            (_ENUMS, Kind.ENUM),
            (_STRUCTS, Kind.STRUCT),
        )
        for name in names.split()
    ]


def header(btf: Btf) -> str:
    """The kernel's types, and the helper ids BCC names that this kernel does not know yet.

    Needs libbcc loaded in this process.
    """
    types = _name_padding(btf.print_c(_types()))
    # Never called by us; BCC's helpers.h wants them declared.
    unknown = sorted(_helper_ids() - set(re.findall(r"\bBPF_FUNC_\w+", types)))
    measured = "".join(_layout(btf, name) for name in _MEASURED)
    ids = "".join(f"#define {name} 0x7fffffff\n" for name in unknown)
    return _WORDS + ids + types + measured


def _name_padding(types: str) -> str:
    """Give the printer's unnamed padding fields names.

    A whole word of padding is printed as an unnamed bit-field. Clang 14 knows the offsets behind
    many of them (``__builtin_offsetof`` is right) and still loads from others: netns_ipv4 shows it.
    """
    count = iter(range(len(types)))
    return re.sub(
        r"^(\t+)(long|int|short|char): (64|32|16|8);$",
        lambda m: (
            f"{m[1]}{m[2]} estats_padding_{next(count)};" if (m[2], m[3]) in _WHOLE_WORDS else m[0]
        ),
        types,
        flags=re.MULTILINE,
    )


def _layout(btf: Btf, struct: str) -> str:
    """Assertions that the printed struct lies in memory as the kernel's does."""
    size = btf.size_of(struct)
    if size is None:
        return ""
    text = f'_Static_assert(sizeof(struct {struct}) == {size}, "size of {struct}");\n'
    for field, offset in btf.fields(struct).items():
        text += (
            f"_Static_assert(__builtin_offsetof(struct {struct}, {field}) == {offset},"
            f' "{struct}.{field}");\n'
        )
    return text


def _helper_ids() -> set[str]:
    """Helper ids in the header that is built into the loaded libbcc: it is there as plain text."""
    maps = Path("/proc/self/maps").read_text()
    library = re.search(r"(/\S*/libbcc\.so\S*)$", maps, re.MULTILINE)
    if not library:
        return set()
    found = re.findall(rb"\(void \*\)\s*(BPF_FUNC_\w+);", Path(library[1]).read_bytes())
    return {name.decode() for name in found}
