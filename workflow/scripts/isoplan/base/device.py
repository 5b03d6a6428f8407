"""The machine that the arithmetic runs on."""

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from itertools import chain, islice

import torch

from isoplan.base.errors import UserError


def pick_device(name: str = "auto") -> torch.device:
    """Torch device of a config's `device`: "auto" (a GPU where there is one), "cpu", "cuda".

    Raises UserError where a GPU is asked for and torch sees none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("device: cuda is asked for, but torch sees no GPU; use auto or cpu")
    return torch.device(name)


def at_once(item_bytes: float, device: torch.device, most_bytes: float) -> int:
    """How many items of that size to work on together, at least one: on a GPU what fits into half of its
    free memory, elsewhere into `most_bytes`, so that a processor's results do not depend on its load."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds back and does not use is free as well.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        most_bytes = (free + held) / 2
    return max(1, int(most_bytes / item_bytes))


def halving(work: Callable[[int], object], size: int, least: int = 1):
    """work(size), with half the size as often as the GPU runs out of memory, down to `least`.

    Raises torch.OutOfMemoryError where that is still too much.
    """
    while True:
        try:
            return work(size)
        except torch.OutOfMemoryError:
            size //= 2
            if size < least:
                raise
        # Only here, where no traceback holds what was being worked on.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def in_batches(work: Callable[[int, int], object], count: int, size: int) -> list:
    """[work(first, last), ...] over `count` items, `size` at a time, half as many from where the GPU ran
    out of memory.

    Raises torch.OutOfMemoryError where a single item is too large.
    """
    done, first = [], 0

    def one(size: int) -> int:
        done.append(work(first, first + size))
        return size

    while first < count:
        size = halving(one, min(size, count - first))
        first += size
    return done


def in_threads(work: Callable, parts: Iterable, device: torch.device) -> Iterable:
    """work(part), ... in order, on a CPU in as many threads as torch has here, each with one thread of torch's.

    That is faster than all threads on one part if the arrays are too small to be shared out. A single part has all threads. At
    most twice as many results as threads are kept until they are taken.
    """
    count = torch.get_num_threads() if device.type == "cpu" else 1
    parts = iter(parts)
    two = list(islice(parts, 2))
    parts = chain(two, parts)
    if count < 2 or len(two) < 2:
        yield from map(work, parts)
        return
    pool, waiting = _threads(count), deque()
    torch.set_num_threads(1)  # others would disturb these
    try:
        for part in parts:
            waiting.append(pool.submit(work, part))
            if len(waiting) == 2 * count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # Nothing goes on behind the back of who got an error.
        for one in waiting:
            one.cancel()
        wait(waiting)
        torch.set_num_threads(count)


@lru_cache
def _threads(count: int) -> ThreadPoolExecutor:
    """They are kept, as new ones would take as long as a small part. What they start has one thread."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def set_threads(count: int) -> None:
    """Holds torch, BLAS and OpenMP to `count` threads, in this process and those it starts."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(count)
    torch.set_num_threads(count)


def keep_freed_memory() -> None:
    """Lets glibc keep freed arrays of up to 32 MiB for the next ones, up to 256 MiB in all.

    Otherwise they go back to the kernel one by one, and clearing fresh pages for the next takes as
    long as an FFT of them. Elsewhere than on glibc nothing happens.
    """
    if libc := _glibc():
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        libc.mallopt(trim_threshold, 256 * 2**20)
        libc.mallopt(mmap_threshold, 32 * 2**20)


def return_freed_memory() -> None:
    """Gives freed memory back to the kernel, before another kind of work begins. Elsewhere than on glibc nothing happens."""
    if libc := _glibc():
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    return libc if hasattr(libc, "malloc_trim") else None
