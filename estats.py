"""Where ``estats`` and ``python -m estats`` begin: makes sure whose code it is, then runs it.

The rooms are top-level packages with common names (``cli``, ``storage`` …). Another project's
folders of the same names, in PYTHONPATH or in the working directory, would be imported in their
place: a program that runs as root says so and stops.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

_HOME = Path(__file__).resolve().parent
_ROOMS = ("bpf", "cli", "collector", "diagnosis", "migrations", "storage", "tuning")


def _stranger() -> str | None:
    """Name the first room that would be imported from anywhere but beside this file."""
    for room in _ROOMS:
        spec = find_spec(room)
        origin = spec.origin if spec else None
        if origin is None or Path(origin).resolve().parent != _HOME / room:
            return f"{room!r} would be imported from {origin}, not from {_HOME / room}"
    return None


def main() -> int:
    """Run the command line, but never on top of another project's folders."""
    if stranger := _stranger():
        print(f"estats: {stranger}", file=sys.stderr)
        print(
            "  Another project is in the way: call the `estats` script, not `python -m estats`,\n"
            "  unset PYTHONPATH, and keep estats in a virtual environment of its own.",
            file=sys.stderr,
        )
        return 2
    try:
        from cli.app import run  # noqa: PLC0415  (only now the room is known to be ours)

        return run()
    except KeyboardInterrupt:  # before the command line could take it
        return 130


if __name__ == "__main__":
    sys.exit(main())
