"""What readers of vendors' formats share: each is one function that uses an optional library.

A reader is a module here with such a function, a row in `rows` and a pin in
envs/requirements-readers.txt. The function imports its library, so only opening such a file needs it.
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
    """Decorator that turns read(path, wanted, stack) into the opener that a row of `rows` names.

    The opener takes (path, name of the format, wanted) and returns a Source. It raises UserError if
    the library is missing or cannot read the file.

    Parameters
    ----------
    read
        Function (path, wanted, stack). wanted: which scene, position or image of the file, None for
        the largest. What the function enters into `stack` is closed with the Source.
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
            except Exception as error:  # the libraries' parsers share no error class
                raise UserError(
                    f"{path}: cannot be read as {name} ({reason(error)}); copy it again, or export it as OME-TIFF"
                ) from error
            source.close = stack.pop_all().close
        return source

    return opener


class Planes:
    """An array with leading axes and those of a plane; a function reads parts of planes."""

    def __init__(self, shape, dtype, leading: int, cut):
        """cut(places, index): reads part `index` of the plane at `places` along the leading axes."""
        self.shape, self.dtype, self.leading, self.cut = tuple(shape), np.dtype(dtype), leading, cut

    def __getitem__(self, index: tuple) -> np.ndarray:
        return self.cut(tuple(int(i) for i in index[: self.leading]), index[self.leading :])
