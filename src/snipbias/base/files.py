"""Write files and folders so that nothing is left half-written or replaced by accident.

Everything is made in a hidden folder next to its place, `.NAME.xxxxxxxx.partial`, and then renamed.
The writing process locks the hidden folder. When a process is killed its lock is released, so the
next process that writes in the same place recognises what it left behind and removes it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import quoted

try:
    import fcntl
except ImportError:  # Windows: without locks, nothing is swept
    fcntl = None

PARTIAL = ".partial"
_REPLACED = "old"
_SHOWN = 40  # characters of the name that the hidden name repeats, which must not get too long


@contextmanager
def atomic_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Make a folder to fill, which gets its name only if the block ends without an exception.

    Raises:
        SnipbiasError: it exists and may not be overwritten, or the disk refuses.
    """
    folder = Path(folder)
    refuse_existing(folder, overwrite=overwrite)
    with _hidden(folder) as new:
        new.mkdir()
        yield new
        refuse_existing(folder, overwrite=overwrite)  # another process may have made it meanwhile
        _replace(new, folder, new.parent)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Make a temporary path to write, which replaces the file only if the block succeeds.

    Raises:
        SnipbiasError: the path is a folder, a symbolic link or a device, or the disk refuses.
    """
    path = Path(path)
    refuse_existing(path, overwrite=True, file=True)
    with _hidden(path) as new:
        yield new
        new.replace(path)


def replace_folder(new: Path, folder: Path) -> None:
    """Replace a folder by a finished one, which may be inside the old one."""
    refuse_existing(folder, overwrite=True)
    with _hidden(folder) as place:
        _replace(new, folder, place.parent)


def refuse_existing(
    path: Path, *, overwrite: bool, file: bool = False, option: str = "--out"
) -> None:
    """Refuse to overwrite something; call it before the work, not only at its end.

    Args:
        path: the folder or file to write.
        overwrite: whether a plain folder (or file) may be replaced; nothing else ever is.
        file: whether a file is to be written.
        option: the option that names the path.

    Raises:
        SnipbiasError: the path is taken.
    """
    if not os.path.lexists(path):  # unlike Path.exists, it accepts impossible names
        return
    again = f"give another {option}"
    if path.is_symlink() or not (path.is_dir() or path.is_file()):
        raise SnipbiasError(f"{path} is a symbolic link, a device or a pipe: {again}.")
    if file and path.is_dir():
        what, again = "is a folder", "give the name of a file"
    elif not file and path.is_file():
        what = "is a file"
    elif not file and Path.cwd().is_relative_to(path.resolve()):
        what = "holds the folder you are in"
    elif overwrite:
        return
    else:
        what, again = "exists", f"{again}, or add --overwrite"
    raise SnipbiasError(f"{path} {what}: {again}.")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder against other processes; the lock ends with the process.

    Raises:
        BlockingIOError: another process has locked it.
        OSError: the folder does not exist, or its disk does not support locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOTSUP, "no locks")
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder, and restore what they were replacing."""
    for hidden in folder.glob(f".*{PARTIAL}"):
        with suppress(OSError), locked(hidden):  # a live process has locked its own
            if not is_leftover(hidden):
                continue
            for old in (hidden / _REPLACED).glob("*"):
                if not os.path.lexists(folder / old.name):
                    old.rename(folder / old.name)
            shutil.rmtree(hidden)


def is_leftover(path: Path) -> bool:
    """Whether its name and contents are those of a hidden folder of this module."""
    if not re.fullmatch(rf"\..*\.[a-z0-9_]{{8}}{re.escape(PARTIAL)}", path.name):
        return False
    if path.is_symlink() or not path.is_dir() or not os.access(path, os.R_OK):
        return False
    start = path.name[: -len(f"xxxxxxxx{PARTIAL}")]
    inside = {entry.name for entry in path.iterdir()} - {_REPLACED}
    return len(inside) <= 1 and all(f".{name[:_SHOWN]}." == start for name in inside)


@contextmanager
def _hidden(path: Path) -> Iterator[Path]:
    """A path of the same name in a hidden folder next to it, which is removed afterwards."""
    made = [parent for parent in path.parents if not parent.exists()]
    hidden = None
    with ExitStack() as lock:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent)
            while hidden is None:
                start = f".{path.name[:_SHOWN]}."
                hidden = Path(tempfile.mkdtemp(prefix=start, suffix=PARTIAL, dir=path.parent))
                try:
                    lock.enter_context(locked(hidden))
                    swept = not hidden.is_dir()
                except (BlockingIOError, FileNotFoundError):
                    swept = True
                except OSError:  # the disk has no locks, so nobody sweeps it
                    swept = False
                hidden = None if swept else hidden
            yield hidden / path.name
        except OSError as error:
            raise SnipbiasError(
                f"could not write {path} ({error.strerror or error}): free some space or choose "
                "another place; nothing was left behind."
            ) from error
        finally:
            if hidden is not None:
                shutil.rmtree(hidden, ignore_errors=True)
            for parent in made:
                with suppress(OSError):  # not empty if the write succeeded
                    parent.rmdir()


def _replace(new: Path, folder: Path, hidden: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    old = hidden / _REPLACED / folder.name
    old.parent.mkdir()
    try:
        folder.rename(old)
        (old / new.relative_to(folder) if new.is_relative_to(folder) else new).rename(folder)
    except BaseException:  # an interrupt too
        with suppress(OSError):  # unless another process has taken the place
            old.rename(folder)
        raise


def shipped(*parts: str) -> str:
    """The text of a data file that ships with the package."""
    return files("snipbias").joinpath("data", *parts).read_text(encoding="utf-8")


def write_json(value: Any, path: Path) -> None:
    """Write plain values as JSON that a person can read."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object that `json.loads` hands over as pairs.

    Raises:
        ValueError: a field appears twice, so that all but one of its values would be lost.
    """
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in fields if names.count(name) > 1)
        raise ValueError(f"the field {quoted(twice)} appears twice")
    return fields


def slug(name: str) -> str:
    """Turn a name into a folder name: bbq:SES -> bbq-SES."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "unnamed"


def refuse_alike(names: tuple[str, ...]) -> None:
    """Refuse names that would share a folder.

    Raises:
        SnipbiasError: two names have the same `slug`, ignoring case.
    """
    folders: dict[str, str] = {}
    for name in names:
        other = folders.setdefault(slug(name).casefold(), name)
        if other != name:
            raise SnipbiasError(f"{other!r} and {name!r} would share a folder: rename one.")


def missing(error: FileNotFoundError) -> str:
    """The name of the file that is not there; pyarrow's error has its path as its text."""
    return Path(str(error.filename or error)).name
