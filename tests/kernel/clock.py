"""A test's own clock: a time that we tell lies between two readings."""

import time

from tests.kernel.validation import Between


class Clock:
    """Moments that a test has read, in order; the first is that of its making."""

    def __init__(self) -> None:
        """Read it for the first time."""
        self.ns = [time.monotonic_ns()]

    def read(self) -> None:
        """Read it once more."""
        self.ns.append(time.monotonic_ns())

    def span(self, unit_us: int = 1) -> Between:
        """The length of what began between the first two readings and ended between the last."""
        unit = unit_us * 1000
        low, high = self.ns[-2] - self.ns[1], self.ns[-1] - self.ns[0]
        return Between(low=low // unit, high=high // unit + 1, reason=REASON)

    def moment(self, early: int, late: int) -> Between:
        """A moment between two readings, on the kernel's monotonic clock in whole microseconds."""
        return Between(low=self.ns[early] // 1000 * 1000, high=self.ns[late], reason=REASON)


#: Why such a value is not known exactly.
REASON = "two readings of the test's own clock"
