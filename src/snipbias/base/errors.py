"""The one exception that a user is meant to read."""

from snipbias.base.words import clipped


class SnipbiasError(Exception):
    """Something the user can correct; the message is one sentence that says what to do.

    A message never fills more than a screen: whatever it quotes, its middle is cut out beyond
    that. The command line prints it without a traceback and exits with status 1.
    """

    def __str__(self) -> str:
        return clipped(super().__str__())


class InterruptError(Exception):
    """The user stopped a run that can go on later; the message says what is kept."""
