"""What changed from one look to the next."""

import pytest

from bpf.catalogue import BY_NAME
from cli.changes import change
from storage.question import Value


@pytest.mark.parametrize(
    ("name", "value", "base", "said"),
    [
        ("SegsRetrans", 7, 7, ""),
        ("SegsRetrans", 4, 2**32 - 3, "+7"),
        ("HCDataOctetsOut", 5, 2**64 - 5, "+10"),
        ("CurCwnd", 1000, 4000, "-3000"),
        ("SndUna", 3, 2**32 - 1, "+4"),
        ("State", 6, 5, "was established"),
        ("SegsOut", 9, None, "was -"),
        ("SegsOut", None, 9, "was 9"),
    ],
)
def test_a_change_has_a_sign_or_words(name: str, value: Value, base: Value, said: str) -> None:
    """So that it is seen without colour; what wraps is told at its own width."""
    assert change(BY_NAME[name.lower()], value, base) == said
