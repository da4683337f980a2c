"""Writing that leaves nothing half-written: to a temporary name, then rename."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident

from snipbias.base.errors import SnipbiasError


@contextmanager
def atomic_folder(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A new folder to fill; it gets its name only when the block ends without an exception.

    Raises:
        SnipbiasError: it exists and may not be overwritten, or the disk refuses.
    """
    folder = Path(folder)
    refuse_existing(folder, overwrite=overwrite)
    made = [parent for parent in folder.parents if not parent.exists()]
    new = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield new
        new.chmod(0o755)  # mkdtemp's is for its owner alone
        refuse_existing(folder, overwrite=overwrite)  # somebody else's, made in the meantime
        _replace(new, folder)
    except OSError as error:
        raise _disk_error(folder, error) from error
    finally:
        if new is not None:
            shutil.rmtree(new, ignore_errors=True)
        for parent in made:
            with suppress(OSError):  # it holds the folder, if all went well
                parent.rmdir()


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A temporary path to write; it replaces `path` only when the block ends without an error."""
    path = Path(path)
    new = path.with_name(f".{path.name}.{os.getpid()}{get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield new
        new.replace(path)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        with suppress(OSError):  # where the folder itself could not be made, say
            new.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Whether it is what `atomic_file` was writing when its process was killed."""
    return re.fullmatch(r"\..+\.\d+", path.name) is not None


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """Refuse to write over something; asked before the work begins, not only at its end."""
    if not os.path.exists(folder):  # unlike Path.exists, it lets any impossible name pass
        return
    if not folder.is_dir():
        what = "is a file"
    elif Path.cwd().is_relative_to(folder.resolve()):
        what = "holds the folder you are in"
    elif overwrite:
        return
    else:
        what = "exists"
    raise SnipbiasError(f"{folder} {what}: give another --out, or --overwrite a folder.")


def _replace(new: Path, folder: Path) -> None:
    if folder.exists():
        old = new.with_name(f"{new.name}.old")
        folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            with suppress(OSError):  # unless somebody else's stands there by now
                old.rename(folder)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
    else:
        new.rename(folder)


def _disk_error(path: Path, error: OSError) -> SnipbiasError:
    return SnipbiasError(
        f"could not write {path} ({error.strerror or error}): free some space or choose another "
        "place; nothing was left behind."
    )


def slug(name: str) -> str:
    """A name as a folder: bbq:SES is bbq-SES."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "unnamed"


def refuse_alike(names: tuple[str, ...]) -> None:
    """Refuse names whose folders would be the same."""
    folders: dict[str, str] = {}
    for name in names:
        other = folders.setdefault(slug(name).casefold(), name)
        if other != name:
            raise SnipbiasError(f"{other!r} and {name!r} would share a folder: rename one.")
