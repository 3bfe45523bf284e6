"""Short-lived children, for what must not stay in the process that asks for it."""

import json
import os
import signal
from collections.abc import Mapping
from typing import Any, Final

from bpf.errors import EnvironmentLacksError, exhausted
from bpf.libc import prctl

_PR_SET_PDEATHSIG: Final = 1


def die_with(parent: int) -> None:
    """In a child: the kernel is to kill it as soon as its parent is dead. It ignores SIGINT.

    The kernel forgets this with a change of the user.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def excuse(error: BaseException, doing: str) -> bytes:
    """What a child that failed sends: the sentence and the cure, also of what nobody foresaw."""
    if isinstance(error, OSError):
        error = exhausted(error) or error
    if isinstance(error, EnvironmentLacksError):
        said = {"message": error.message, "advice": error.advice}
    else:
        text = f"{doing} the kernel programs failed: {type(error).__name__}: {error}"
        said = {"message": text[:2000], "advice": ""}
    return json.dumps(said).encode()


def check(answer: Mapping[str, Any]) -> None:
    """Raises EnvironmentLacksError if a child's answer is an excuse."""
    if "message" in answer:
        raise EnvironmentLacksError(str(answer["message"]), str(answer["advice"]))
