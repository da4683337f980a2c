"""The one exception that a user is meant to read."""


class SnipbiasError(Exception):
    """Something the user can mend; the message is one sentence that says what to do.

    The command line prints it without a traceback and exits with status 1.
    """


class InterruptError(Exception):
    """The user stopped a run that can go on later; the message says what is kept."""
