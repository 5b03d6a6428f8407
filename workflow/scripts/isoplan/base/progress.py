"""Progress of long work: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SILENT = ContextVar("_SILENT", default=False)


@contextmanager
def silent(wanted: bool = True) -> Iterator[None]:
    """No bar says anything meanwhile, if wanted."""
    token = _SILENT.set(wanted)
    try:
        yield
    finally:
        _SILENT.reset(token)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Says how far work has come and how long the rest will take, at most every `every_s` seconds.

    done: what an earlier run did already, for which no time counts. It writes to stderr: a bar redrawn in place on a terminal, plain lines elsewhere.
    """

    def __init__(self, title: str, total: int, every_s: float = 10.0, done: int = 0):
        self.title, self.total, self.done, self.begun_at = title, total, done, done
        self.begun = self.said = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.every_s = 0.2 if self.terminal else every_s

    def step(self, text: str = "", count: int = 1) -> None:
        """`count` more are done; text says something about the last of them."""
        self.done += count
        if _SILENT.get():
            return
        now = time.monotonic()
        last = self.done >= self.total
        if not last and now - self.said < self.every_s:
            return
        self.said = now
        spent = now - self.begun
        rest = f"{clock(spent)} taken" if last else f"about {clock(self._rest(spent))} left"
        line = f"{self.title}: {self.done} of {self.total}, {rest}{'; ' + text if text else ''}"
        if self.terminal:
            filled = round(24 * min(1, self.done / max(1, self.total)))
            bar = "█" * filled + "·" * (24 - filled)
            end = "\n" if last else ""
            sys.stderr.write(f"\r\x1b[K{bar} {line}{end}")
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()

    def _rest(self, spent: float) -> float:
        return spent / max(1, self.done - self.begun_at) * (self.total - self.done)
