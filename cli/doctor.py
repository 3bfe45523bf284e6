"""Stand-in."""


def doctor() -> None:
    """Look at the host."""
