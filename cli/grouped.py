"""The list of commands in the main help, in groups by what one wants."""

from typing import Any, Final

from typer.core import TyperGroup

COLLECT: Final = "Collect"
ASK: Final = "Ask about connections"
CHANGE: Final = "Change connections"
KEEP: Final = "Keep and hand on"
KNOW: Final = "Look up and look after"


class Grouped(TyperGroup):
    """Commands below the heading that each was registered with, in the order of registration."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """What click calls for the list, with a section for each heading."""
        groups: dict[str, list[tuple[str, Any]]] = {}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                groups.setdefault(_heading(command), []).append((name, command))
        longest = max(len(name) for commands in groups.values() for name, _ in commands)
        room = formatter.width - 6 - longest
        for heading, commands in groups.items():
            with formatter.section(heading):
                # Names are filled up, so that the columns of all groups stand in line.
                formatter.write_dl(
                    [
                        (name.ljust(longest), each.get_short_help_str(room))
                        for name, each in commands
                    ]
                )


def _heading(command: Any) -> str:
    heading = command.rich_help_panel
    return heading if isinstance(heading, str) else "Commands"
