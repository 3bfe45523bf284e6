"""A thread that reads the database: whoever draws never waits for it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cli.asking import reading
from cli.top.look import Ask, View, look


class Source:
    """A database, and whether a collector writes to it."""

    def __init__(self, path: Path, is_written: Callable[[], bool], name: str = "") -> None:
        """Nothing is opened yet; ``name`` is what people call it, if not by its path."""
        self.path, self.is_written, self.name = path, is_written, name or str(path)

    def answer(self, ask: Ask) -> "Answer":
        """Answer it now. Raises EstatsError."""
        return Answer(ask=ask, is_written=self.is_written(), view=self.look(ask))

    def look(self, ask: Ask, known: View | None = None) -> View:
        """Answer it, with what is known already if nothing is newer. Raises EstatsError."""
        # Opened each time: a transaction that stays open keeps SQLite's log growing.
        with reading(self.path) as reader:
            if known is not None and known.taken_us == reader.moment():
                return known
            return look(reader, ask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """To which question it is, and either a view or why there is none."""

    ask: Ask
    is_written: bool
    view: View | None = None
    error: Exception | None = None


class Looker:
    """It answers the newest question, and that again in each interval while it is about now."""

    def __init__(self, source: Source, seconds: float, tell: Callable[[Answer], object]) -> None:
        """``tell`` is called in the thread, with each answer."""
        self._source, self._seconds, self._tell = source, seconds, tell
        self._asked: Ask | None = None
        self._is_over = False
        self._news = threading.Condition()
        # Nobody waits for it at the end: a locked database may hold it for seconds.
        self._thread = threading.Thread(target=self._run, name="looker", daemon=True)

    def ask(self, ask: Ask) -> None:
        """Answer this from now on; what was asked before, and not begun, is forgotten."""
        with self._news:
            self._asked = ask
            self._news.notify()
        if not self._thread.is_alive() and not self._is_over:
            self._thread.start()

    def end(self) -> None:
        """Answer nothing more."""
        with self._news:
            self._is_over = True
            self._news.notify()

    def _run(self) -> None:
        last: Answer | None = None
        pause = 0.0
        while (ask := self._next(pause, last)) is not None:
            began = time.monotonic()
            known = last.view if last is not None and last.ask == ask else None
            last = self._answer(ask, known)
            if self._is_over:
                return
            self._tell(last)
            # A list that takes long to read is read less often: half of the time is others'.
            pause = max(self._seconds, time.monotonic() - began)

    def _next(self, pause: float, last: Answer | None) -> Ask | None:
        """The next question; None when it is over."""
        with self._news:
            if self._asked is None and last is not None:
                repeats = last.ask.at_us is None or last.error is not None
                self._news.wait_for(
                    lambda: self._asked is not None or self._is_over, pause if repeats else None
                )
            ask, self._asked = self._asked, None
            if self._is_over:
                return None
            if ask is None and last is not None:
                ask = replace(last.ask, steps=0) if last.error is None else last.ask
            return ask

    def _answer(self, ask: Ask, known: View | None) -> Answer:
        try:
            is_written = self._source.is_written()
            view = self._source.look(ask, known if ask.at_us is None else None)
        except Exception as error:  # an EstatsError is told; the one who draws raises any other
            return Answer(ask=ask, is_written=False, error=error)
        return Answer(ask=ask, is_written=is_written, view=view)
