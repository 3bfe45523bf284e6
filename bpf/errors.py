"""What can go wrong, as sentences.

EstatsError                 message, advice, exit_code
├── UsageError              2   a value on the command line makes no sense
├── EnvironmentLacksError   3   this host cannot do it (root, BTF, bcc, cgroup v2, descriptors)
├── StorageError            4   the database cannot be opened, is another's, is full, is locked
├── RecordingError          5   a recording or a ring holds what it must not, or is not written
└── CollectorError          6   a process of the collector died, and none can take its place
"""

import errno
import resource


class EstatsError(Exception):
    """Something a user can act on: ``message`` says what, ``advice`` what to do."""

    exit_code = 1

    def __init__(self, message: str, advice: str = "") -> None:
        """``message`` is one sentence without a full stop; ``advice`` is the cure."""
        super().__init__(message)
        self.message = message
        self.advice = advice


class UsageError(EstatsError):
    """A value on the command line makes no sense."""

    exit_code = 2


class EnvironmentLacksError(EstatsError):
    """This host cannot run the kernel programs; ``advice`` says how it could."""

    exit_code = 3


class StorageError(EstatsError):
    """The database cannot be used; nothing in it was changed."""

    exit_code = 4
    #: Whether it may pass by itself: what was to be written may be tried again, later.
    may_pass = False


class RecordingError(EstatsError):
    """Bytes that are not what they claim to be; ``offset`` is where."""

    exit_code = 5

    def __init__(self, message: str, advice: str = "", offset: int = 0) -> None:
        """``offset`` in bytes from the start of the recording or of the ring's data."""
        super().__init__(message, advice)
        self.offset = offset


class CollectorError(EstatsError):
    """A process of the collector died; the rest was stopped in order."""

    exit_code = 6


def exhausted(error: OSError) -> EnvironmentLacksError | None:
    """What the operating system has no more of, in words; None if the error is another one."""
    if error.errno == errno.EMFILE:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return EnvironmentLacksError(
            f"no file descriptor is left, of {limit}",
            "Raise the limit (ulimit -n; LimitNOFILE= of a service), or have fewer --shards.",
        )
    if error.errno == errno.ENFILE:
        return EnvironmentLacksError(
            "no file descriptor is left on this host", "See sysctl fs.file-max."
        )
    if error.errno == errno.ENOMEM:
        return EnvironmentLacksError(
            "no memory is left", "See MemoryMax= of a service, and `free`."
        )
    return None
