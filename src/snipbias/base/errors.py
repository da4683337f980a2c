"""The exceptions whose messages are written for users."""

from importlib import import_module

from snipbias.base.words import clipped


class SnipbiasError(Exception):
    """An error that the user can fix; its message is one sentence that says how.

    Messages longer than a screen are shortened in the middle. The command line prints them without
    a traceback and exits with status 1.
    """

    def __str__(self) -> str:
        return clipped(super().__str__())


class InterruptError(Exception):
    """The user stopped a run that can be resumed; the message says what is kept."""


def require(package: str, what: str, extra: str | None = None) -> None:
    """Refuse to go on without an optional package.

    Args:
        package: the module to import.
        what: the beginning of the message: "writing an adapter needs".
        extra: our extra that installs it, if it has another name than the module.

    Raises:
        SnipbiasError: it is not installed.
    """
    try:
        import_module(package)
    except ImportError:
        raise SnipbiasError(
            f"{what} the package {package}: pip install 'snipbias[{extra or package}]'."
        ) from None
