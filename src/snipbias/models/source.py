"""Where a model's files are: a hub id, a folder, a GGUF file or `demo`; and errors if missing."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from transformers import PretrainedConfig
from transformers.utils import logging as transformers_logging

from snipbias.base.errors import SnipbiasError, require
from snipbias.base.hub import answers
from snipbias.base.words import one_line

DEMO = Path(str(files("snipbias") / "data" / "demo"))  # the folder of the model


@dataclass(frozen=True)
class Source:
    """Where a model's files are, and the arguments that name them to transformers."""

    name: str
    place: str
    trust: bool
    revision: str | None = None
    gguf: str | None = None

    @classmethod
    def of(cls, name: str, revision: str | None, trust: bool) -> Source:
        """Find out where a model's files are.

        Args:
            name: "demo", a folder, a .gguf file, or a repository of the hub.
            revision: branch, tag or commit on the hub; None for the main branch.
            trust: whether the model's own code may run.

        Raises:
            SnipbiasError: there is no such folder or file.
        """
        if name == "demo":
            return cls(name, str(DEMO), trust)
        path = Path(name).expanduser()
        if path.suffix.lower() == ".gguf":
            if not path.is_file():
                raise SnipbiasError(f"there is no file {name}: check the path of the GGUF file.")
            require("gguf", "reading a GGUF file needs")
            return cls(name, str(path.parent), trust, gguf=path.name)
        looks_local = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
        if path.is_dir():
            if (path / "adapter_config.json").is_file():
                raise SnipbiasError(
                    f"{name} is an adapter, not a model: give its base model (adapter_config.json "
                    "names it), or merge the two with PEFT and save the result."
                )
            if not (path / "config.json").is_file():
                raise SnipbiasError(
                    f"{name} has no config.json: give a folder that save_pretrained wrote."
                )
            return cls(name, str(path), trust)
        if "/" not in name and get_close_matches(name, ["demo"]) and not path.exists():
            raise SnipbiasError(f"there is no model {name!r}: did you mean 'demo'?")
        if looks_local or path.exists():
            raise SnipbiasError(
                f"there is no model at {name}: give a folder, a .gguf file or a hub id."
            )
        return cls(name, name, trust, revision)

    @property
    def is_local(self) -> bool:
        """Whether the files are in a folder on this machine, not on the hub."""
        return Path(self.place).is_dir()

    @cached_property
    def is_out_of_reach(self) -> bool:
        """Whether they are on the hub and it does not answer."""
        with suppress(HfHubHTTPError, HFValidationError):  # transformers gives a better reason
            return not (self.is_local or answers(self.place, "config.json", revision=self.revision))
        return False

    def arguments(self, *, weights: bool = True) -> dict[str, Any]:
        common: dict[str, Any] = {"trust_remote_code": self.trust}
        if self.gguf:
            return {**common, "gguf_file": self.gguf}
        if self.revision:
            common["revision"] = self.revision
        if self.is_out_of_reach:
            common["local_files_only"] = True
            if weights:  # transformers looks for an adapter without this setting
                common["adapter_kwargs"] = {"local_files_only": True}
        # Pickled weights could run code.
        return {**common, "use_safetensors": True} if weights else common

    def identity(self, config: PretrainedConfig) -> str | None:
        """The hub's commit, or a GGUF file's hash."""
        if not self.gguf:
            return getattr(config, "_commit_hash", None)
        digest = hashlib.sha256()
        with open(Path(self.place) / self.gguf, "rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        return f"sha256:{digest.hexdigest()}"


@contextmanager
def one_sentence(source: Source) -> Iterator[None]:
    """Turn an error of transformers about a model it cannot load into one sentence.

    A damaged configuration or file surfaces as almost any exception, hence the broad clause.

    Raises:
        SnipbiasError: the block raised an error.
    """
    try:
        yield
    except SnipbiasError:
        raise
    except ImportError as error:
        raise SnipbiasError(f"{source.name} cannot be loaded: {one_line(error)}.") from error
    except Exception as error:
        said = one_line(error)
        if isinstance(error.__cause__, LocalEntryNotFoundError):
            gone = "" if constants.HF_HUB_OFFLINE else " and the hub cannot be reached"
            said = f"it is not in the local cache{gone}"
        if said.startswith("Unrecognized configuration class"):
            hint = "if it reads text, load it by its own class and give it to sb.wrap"
        elif source.is_local:
            hint = "check that its files are whole"
            if list(Path(source.place).glob("*.bin")):
                hint = "pickled weights (*.bin) could run code: save it again as safetensors"
        elif constants.HF_HUB_OFFLINE:
            hint = "HF_HUB_OFFLINE is set, so download it where there is a network"
        else:
            hint = "check its name and the connection to the hub"
        raise SnipbiasError(f"cannot load the model {source.name} ({said}): {hint}.") from error


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' progress bars and notes."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        # The GGUF reader has a progress bar that no setting turns off.
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
