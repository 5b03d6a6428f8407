"""The one error that a user can put right."""


class UserError(Exception):
    """Wrong input of the user's: names the file or key, what is wrong and what to do.

    Scripts and the command line print its message alone, without a traceback, and exit with 1.
    """
