"""What ends a job in one line instead of a traceback."""

import errno


class UserError(Exception):
    """Wrong input of the user's: names the file or key, what is wrong and what to do.

    Scripts and the command line print its message alone, without a traceback, and exit with 1.
    """


class MissingPackage(UserError):
    """What the user asked for is right, but needs an extra that is not installed; says how to install it."""


def of_the_disk(error: BaseException | None) -> bool:
    """Whether a disk or a file system failed, and not the file that was read from it.

    Decoders of pictures raise OSError too, without a number; and a broken header sends a reader to places
    that no file has, which the system calls invalid.
    """
    of_the_file = (None, errno.EINVAL, errno.EOVERFLOW)
    return isinstance(error, OSError) and error.errno not in of_the_file


class OutOfTime(Exception):
    """The job's time limit leaves no room for more; what is done is kept, and a rerun goes on from there.

    Scripts print its message and exit with 3, as commands do that stop after so many minutes.
    """
