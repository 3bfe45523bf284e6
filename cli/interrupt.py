"""Ctrl-C as the end of what goes on until Ctrl-C: it never cuts an answer in two."""

import signal
import sys
import time
from types import FrameType, TracebackType


class Interrupt:
    """While it is entered, SIGINT is noted, and ends a ``rest``; the second one is as ever."""

    def __init__(self) -> None:
        """Nobody asked yet."""
        self.asked = False
        self._is_resting = False

    def __enter__(self) -> "Interrupt":
        """Take the signal over."""
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back."""
        signal.signal(signal.SIGINT, self._before)

    def rest(self, seconds: float) -> None:
        """Let whoever reads along have what there is, and sleep, unless it is interrupted."""
        sys.stdout.flush()
        try:
            self._is_resting = True
            if not self.asked:
                time.sleep(seconds)
        except KeyboardInterrupt:
            pass
        finally:
            self._is_resting = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked or self._is_resting:
            self.asked = True
            raise KeyboardInterrupt
        self.asked = True
