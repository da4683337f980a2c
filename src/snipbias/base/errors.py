"""The one exception that a user is meant to read."""

from importlib import import_module

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


def require(package: str, what: str, extra: str | None = None) -> None:
    """Refuse to go on without a package of an extra.

    Args:
        package: the module to import.
        what: needs it, in the plural or not: "writing an adapter needs".
        extra: of this package, where it is not called as the module.

    Raises:
        SnipbiasError: it is not installed.
    """
    try:
        import_module(package)
    except ImportError:
        raise SnipbiasError(
            f"{what} the package {package}: pip install 'snipbias[{extra or package}]'."
        ) from None
