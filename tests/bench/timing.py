"""Timing ours and a peer in turn, so that whatever else the machine does meets both."""

import statistics
import time
from collections.abc import Callable


def in_turn(
    ours: Callable, peer: Callable, floor: Callable | None = None, *, runs: int = 7, per: int = 1
) -> dict:
    """Medians of `runs` calls each, in seconds divided by `per`, after one call to warm up.

    floor: the part of the work that nobody can do without, timed with the others. spread: the larger
    one of both sides' (slowest - fastest) / median.
    """
    works = [ours, peer, *([floor] if floor else [])]
    taken = [[] for _ in works]
    for _ in range(runs + 1):
        for work, seconds in zip(works, taken, strict=True):
            begin = time.perf_counter()
            work()
            seconds.append((time.perf_counter() - begin) / per)
    taken = [seconds[1:] for seconds in taken]
    medians = [statistics.median(seconds) for seconds in taken]
    return {
        "ours_s": medians[0],
        "peer_s": medians[1],
        "ratio": medians[1] / medians[0],
        "floor_s": medians[2] if floor else None,
        "runs": runs,
        "spread": max((max(s) - min(s)) / statistics.median(s) for s in taken[:2]),
    }
