"""The C library, for system calls that Python has no function for."""

import ctypes as ct
import os
from typing import Final

LIBC: Final = ct.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """The result of a call that says with a negative one that it failed.

    Raises OSError with the error number that the call left.
    """
    if result < 0:
        code = ct.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, value: int) -> None:
    """Change something about this process, by an option with one argument. Raises OSError."""
    checked(LIBC.prctl(option, ct.c_ulong(value), *[ct.c_ulong(0)] * 3))
