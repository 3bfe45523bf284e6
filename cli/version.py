"""Which version of estats this is."""

from importlib.metadata import PackageNotFoundError, version


def program_version() -> str:
    """The installed distribution's version."""
    try:
        return version("tcp-estats")
    except PackageNotFoundError:
        return "not installed"
