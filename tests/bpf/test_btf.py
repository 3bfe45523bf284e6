"""Our reading of the kernel's types agrees with another reader's."""

from pathlib import Path

import pytest

from bpf.btf import Btf, Kind
from bpf.errors import EnvironmentLacksError
from tests.bpf import vmlinux

STRUCTS = ["tcp_sock", "sock", "sock_common", "inet_sock", "netns_ipv4", "sk_buff", "task_struct"]


@pytest.fixture(scope="module")
def btf() -> Btf:
    """The running kernel's."""
    return Btf()


@pytest.mark.kernel
@pytest.mark.parametrize("struct", STRUCTS)
def test_fields_lie_where_the_kernel_says(btf: Btf, struct: str) -> None:
    """Every named member that is no bit-field, at its offset; and the size of the whole."""
    witness = vmlinux.struct_named(struct)

    assert btf.size_of(struct) == witness.bytes_or_type
    assert btf.fields(struct) == {
        name: bit // 8 for name, _, bit, width in witness.members if name and not width
    }


@pytest.mark.kernel
def test_a_type_is_found_by_name_and_kind(btf: Btf) -> None:
    """The id is the one the kernel counts; a name of another kind is not it."""
    found = btf.find("btf_trace_tcp_probe", Kind.TYPEDEF)

    assert found is not None
    assert vmlinux.types()[found].name == "btf_trace_tcp_probe"
    assert btf.find("btf_trace_tcp_probe", Kind.STRUCT) is None


@pytest.mark.kernel
def test_what_this_kernel_lacks_is_none(btf: Btf) -> None:
    """Neither an error nor a guess."""
    assert btf.find("estats_nonsense", Kind.STRUCT) is None
    assert btf.size_of("estats_nonsense") is None
    assert btf.fields("estats_nonsense") == {}
    assert btf.print_c([("estats_nonsense", Kind.STRUCT)]) == ""


@pytest.mark.kernel
def test_a_type_is_printed_with_all_it_needs(btf: Btf) -> None:
    """And once, however often it is named."""
    text = btf.print_c([("tcphdr", Kind.STRUCT), ("u8", Kind.TYPEDEF), ("tcphdr", Kind.STRUCT)])

    assert text.count("struct tcphdr {") == 1
    assert "typedef __u16 __be16;" in text
    assert "typedef __u8 u8;" in text


@pytest.mark.parametrize(
    "content", [None, b"", b"no types at all", b"\x9f\xeb\x01\x00" + bytes(20)]
)
def test_a_kernel_without_types_is_told_with_its_cure(
    tmp_path: Path, content: bytes | None
) -> None:
    """Whether the file is missing or holds something else."""
    path = tmp_path / "vmlinux"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(EnvironmentLacksError) as lack:
        Btf(path)

    assert str(path) in lack.value.message
    assert "--source diag" in lack.value.advice
