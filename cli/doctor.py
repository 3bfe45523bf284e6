"""``estats doctor``: can it run here, and if not, what to do."""

from typing import Final

import typer

from bpf.checkup import examine
from bpf.errors import EnvironmentLacksError
from cli.render import printable

HELP: Final = """Look at this host: can the kernel programs run, and if not, what to do about it.

Each line is one thing they need. The last one loads and attaches all of them for a moment. Exit
code 0: they run; 3: they do not, and `estats collect` falls back to inet_diag."""

EXAMPLES: Final = """\b
Examples:
  estats doctor
"""


def doctor() -> None:
    """Examine (HELP above is what a user reads)."""
    started = False
    for finding in examine():
        mark = "ok     " if finding.ok else "missing"
        typer.echo(f"{mark}  {finding.subject:26}  {printable(finding.answer)}")
        if not finding.ok and finding.advice:
            typer.echo(f"         cure: {printable(finding.advice)}")
        started = finding.ok
    if not started:
        raise EnvironmentLacksError(
            "the kernel programs do not run here", "see the cures above, or use --source diag"
        )
