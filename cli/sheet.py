"""What estats plot draws on: the terminal as it is, or a new file."""

import os
import sys
from pathlib import Path
from typing import Final

from bpf.errors import EnvironmentLacksError, StorageError, UsageError
from cli.options import refuse_taken, taken
from plotting.picture import SUFFIXES, can_draw
from plotting.terminal import WIDTH_MIN, Paper

_WIDTH: Final = 80


def refuse_picture(out: Path | None) -> None:
    """Refuse what cannot be written, before anything is asked.

    Raises UsageError for a name that says no kind of picture, or that is taken;
    EnvironmentLacksError without matplotlib.
    """
    if out is None:
        return
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{out} does not say what kind of picture it is",
            f"Let its name end in {' or '.join(SUFFIXES)}.",
        )
    refuse_taken(out)
    if not can_draw():
        raise EnvironmentLacksError(
            "a picture needs matplotlib, which is not installed",
            "Install it beside estats: .venv/bin/pip install 'matplotlib>=3.8'. Without --out the"
            " terminal shows the same.",
        )


def keep(out: Path, picture: bytes) -> None:
    """Write a new file that its owner may read; no link is followed, and no half of it is left.

    Raises UsageError if there is one by now, StorageError if it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(out, flags, 0o600)
    except FileExistsError:
        raise taken(out) from None
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}") from error
    try:
        with open(descriptor, "wb") as file:
            file.write(picture)
    except OSError as error:
        out.unlink(missing_ok=True)
        raise StorageError(f"{out} cannot be written: {error.strerror}") from error


def paper() -> Paper:
    """What standard output can show: as wide as the terminal or as $COLUMNS says, else 80.

    Colours are for terminals, and not where $NO_COLOR is set; signs beyond ASCII where its
    encoding has them.
    """
    is_terminal = sys.stdout.isatty()
    width = os.environ.get("COLUMNS", "")
    if width.isdecimal():
        columns = int(width)
    else:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns if is_terminal else _WIDTH
    colour = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Paper(max(columns or _WIDTH, WIDTH_MIN), colour, _has_unicode())


def _has_unicode() -> bool:
    try:
        "⣿░".encode(sys.stdout.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True
