"""What an exit code means: said here, and shown by the help, the manual and the docs."""

from typing import Final

EXIT_CODES: Final = {
    0: "done, also if nothing matched",
    1: "nobody reads the output any more",
    2: "the command line, or what gives its defaults, makes no sense",
    3: "this host cannot do it (root, BTF, bcc, cgroup v2; descriptors, memory)",
    4: "the database cannot be used (foreign, locked, full, gone)",
    5: "a recording is damaged, or cannot be written",
    6: "a process of the collector died, and none can take its place",
    7: "no collector is well (estats status)",
    130: "interrupted",
}


def exit_codes_help() -> str:
    """The end of the main help."""
    return "\n".join(["\b", "Exit codes:", *(f"  {n:<4} {text}" for n, text in EXIT_CODES.items())])
