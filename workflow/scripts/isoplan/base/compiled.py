"""Functions that numba compiles for processors."""

from collections.abc import Callable

import numba


def compiled(function: Callable) -> Callable:
    """`function`, compiled at its first call with each kind of arguments. It runs without Python's lock.

    What was compiled is kept beside the file of `function`, or else in the user's cache folder. Where neither may be
    written, each process compiles anew. Sums keep their order, so that all processors compute the same.

    Examples
    --------
    >>> import numpy as np
    >>> @compiled
    ... def total(values):
    ...     found = 0.0
    ...     for value in values:
    ...         found += value
    ...     return found
    >>> total(np.arange(4.0))
    6.0
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # there is no folder for its cache
        return numba.njit(**options)(function)
