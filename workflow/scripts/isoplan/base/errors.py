"""What ends a job in one line instead of a traceback."""


class UserError(Exception):
    """Wrong input of the user's: names the file or key, what is wrong and what to do.

    Scripts and the command line print its message alone, without a traceback, and exit with 1.
    """


class OutOfTime(Exception):
    """The job's time limit leaves no room for more; what is done is kept, and a rerun goes on from there.

    Scripts print its message and exit with 3, as commands do that stop after so many minutes.
    """
