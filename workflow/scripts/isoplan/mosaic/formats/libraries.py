"""What readers of microscopes' own files share: one function each, through a library that is an optional extra.

A reader is a module here with such a function, a row in `rows` and a pin in envs/requirements-readers.txt. Its library is
imported in the function, not before such a file is opened.
"""

import contextlib
from collections.abc import Callable
from functools import wraps

import numpy as np

from isoplan.base.errors import UserError
from isoplan.mosaic.source import Source, reason

_INSTALL = "install the extra: .venv/bin/uv pip install -r envs/requirements-readers.txt"


def through_library(
    read: Callable[[str, int | None, contextlib.ExitStack], Source],
) -> Callable[[str, str, int | None], Source]:
    """Of read(path, wanted, stack) the function that a row names: (path, name of the format, wanted) -> Source.

    wanted: which scene, position or image of the file; None the largest. stack: what is entered there is closed with
    the Source. Raises UserError where the library is missing, and for what that cannot read.
    """

    @wraps(read)
    def opener(path: str, name: str, wanted: int | None) -> Source:
        with contextlib.ExitStack() as stack:
            try:
                source = read(path, wanted, stack)
            except UserError:
                raise
            except ImportError as error:
                raise UserError(
                    f"{path}: to read {name} files, {_INSTALL}; or export it as OME-TIFF ({error})"
                ) from None
            except Exception as error:  # their parsers share no error class
                raise UserError(
                    f"{path}: cannot be read as {name} ({reason(error)}); copy it again, or export it as OME-TIFF"
                ) from error
            source.close = stack.pop_all().close
        return source

    return opener


class Planes:
    """An array (leading axes, then those of a plane), each plane of which is cut where it lies."""

    def __init__(self, shape, dtype, leading: int, cut):
        """cut(places, index): numbers of the leading axes, and what of the plane is wanted."""
        self.shape, self.dtype, self.leading, self.cut = tuple(shape), np.dtype(dtype), leading, cut

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self.cut(tuple(int(i) for i in index[: self.leading]), index[self.leading :])
