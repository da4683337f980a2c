"""From a hub id, a folder, a GGUF file, `demo`, or objects in memory to a LanguageModel."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from difflib import get_close_matches
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from huggingface_hub import constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from snipbias.base.errors import SnipbiasError
from snipbias.base.hub import answers
from snipbias.base.parallel import workers
from snipbias.models.language_model import LanguageModel

DEMO = Path(str(files("snipbias") / "data" / "demo"))  # the folder of the model
DType = Literal["auto", "stored", "float32", "bfloat16", "float16"]


def load(
    model: str | Path,
    *,
    revision: str | None = None,
    dtype: DType = "auto",
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    chat: bool | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a model with its tokenizer.

    Args:
        model: a hub id (`google/flan-t5-base`), a local folder, a `.gguf` file, or `demo` for the
            small model that ships with the package.
        revision: branch, tag or commit on the hub.
        dtype: `stored` is the checkpoint's own type; `auto` is that too, but float32 on a CPU.
        device: by default CUDA if there is one, else the CPU.
        device_map: spread over devices by accelerate; goes instead of `device`.
        chat: put prompts into the chat template; by default where the tokenizer has one.
        trust_remote_code: run code from the model's repository.

    Raises:
        SnipbiasError: it is not there, is not a language model, or its family is not supported.
    """
    place = _device(device)
    if device_map is not None and workers().count > 1:
        raise SnipbiasError(
            "--device-map spreads one process's model over all devices: run one process, or leave "
            "it off for a copy of the model on each."
        )
    source = _Source.of(str(model), revision, trust_remote_code)
    config = source.config()
    _refuse_float16(config, dtype)
    arguments: dict[str, Any] = {"dtype": _dtype(dtype, place, config)}
    if device_map is not None:
        arguments["device_map"] = device_map
    factory = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    with _one_sentence(source), quiet_transformers():
        loaded, report = factory.from_pretrained(  # type: ignore[misc]
            source.place,
            **source.arguments(),
            **arguments,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they come in the report, and are refused below
        )
        _refuse_random_weights(str(model), report)
        tokenizer = AutoTokenizer.from_pretrained(source.place, **source.arguments(weights=False))
        if device_map is None:
            loaded = loaded.to(place)
    return wrap(
        loaded, tokenizer, name=str(model), chat=chat, revision=source.identity(loaded.config)
    )


def wrap(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    name: str | None = None,
    chat: bool | None = None,
    revision: str | None = None,
) -> LanguageModel:
    """A model and tokenizer that are already in memory, left as they are.

    Raises:
        SnipbiasError: the family is not supported, or it is a T5 in float16.
    """
    # What torch.compile makes has other names for the layers, and code in which no hook counts.
    model = getattr(model, "_orig_mod", model)
    if any(parameter.dtype == torch.float16 for parameter in model.parameters()):
        _refuse_float16(model.config, "float16")
    has_template = getattr(tokenizer, "chat_template", None) is not None
    if chat and not has_template:
        raise SnipbiasError(
            "this tokenizer has no chat template: leave chat off, or set tokenizer.chat_template."
        )
    lm = LanguageModel(
        model,
        tokenizer,
        name=name or model.config.name_or_path or type(model).__name__,
        chat=has_template if chat is None else chat,
        revision=revision,
    )
    _ = lm.sites  # refuses an unsupported family now rather than after the first passes
    return lm


class _Source:
    """Where a model's files are, and the arguments that name them to transformers."""

    def __init__(self, name: str, place: str, gguf: str | None, revision: str | None, trust: bool):
        self.name = name
        self.place = place
        self._gguf = gguf
        self._revision = revision
        self._trust = trust

    @classmethod
    def of(cls, name: str, revision: str | None, trust: bool) -> _Source:
        if name == "demo":
            return cls(name, str(DEMO), None, None, trust)
        path = Path(name).expanduser()
        if path.suffix.lower() == ".gguf":
            if not path.is_file():
                raise SnipbiasError(f"there is no file {name}: check the path of the GGUF file.")
            require_gguf()
            return cls(name, str(path.parent), path.name, None, trust)
        looks_local = path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise SnipbiasError(
                    f"{name} holds no config.json: give a folder that save_pretrained wrote."
                )
            return cls(name, str(path), None, None, trust)
        if "/" not in name and get_close_matches(name, ["demo"]) and not path.exists():
            raise SnipbiasError(f"there is no model {name!r}: did you mean 'demo'?")
        if looks_local or path.exists():
            raise SnipbiasError(
                f"there is no model at {name}: give a folder, a .gguf file or a hub id."
            )
        return cls(name, name, None, revision, trust)

    @property
    def is_local(self) -> bool:
        """Whether the files are a folder of this machine rather than the hub's."""
        return Path(self.place).is_dir()

    @cached_property
    def is_out_of_reach(self) -> bool:
        """Whether they are the hub's, and it does not answer."""
        if self.is_local:
            return False
        try:
            return not answers(self.place, "config.json", revision=self._revision)
        except (HfHubHTTPError, HFValidationError):  # transformers knows better why
            return False

    def arguments(self, *, weights: bool = True) -> dict[str, Any]:
        common: dict[str, Any] = {"trust_remote_code": self._trust}
        if self._gguf:
            return {**common, "gguf_file": self._gguf}
        if self._revision:
            common["revision"] = self._revision
        if self.is_out_of_reach:
            common["local_files_only"] = True
            if weights:  # the factory looks for an adapter, and does not pass the above on
                common["adapter_kwargs"] = {"local_files_only": True}
        # Pickled weights could run code.
        return {**common, "use_safetensors": True} if weights else common

    def config(self) -> PretrainedConfig:
        with _one_sentence(self), quiet_transformers():
            return AutoConfig.from_pretrained(self.place, **self.arguments(weights=False))

    def identity(self, config: PretrainedConfig) -> str | None:
        """The hub's commit, or the hash of a GGUF file."""
        if self._gguf:
            digest = hashlib.sha256()
            with open(Path(self.place) / self._gguf, "rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            return "sha256:" + digest.hexdigest()
        return getattr(config, "_commit_hash", None)


def _device(device: str | torch.device | None) -> torch.device:
    has_cuda = torch.cuda.is_available()
    try:
        place = torch.device(device or ("cuda" if has_cuda else "cpu"))
    except RuntimeError:
        raise SnipbiasError(f"there is no device {device!r}: give cpu, cuda or cuda:0.") from None
    if place.type not in ("cpu", "cuda"):
        raise SnipbiasError(f"the device {place} is not supported (no float64): give cpu or cuda.")
    if place.type == "cuda" and not (has_cuda and (place.index or 0) < torch.cuda.device_count()):
        raise SnipbiasError(f"there is no {place} on this machine: give another device, or cpu.")
    return place


def _refuse_random_weights(name: str, report: dict[str, Any]) -> None:
    """Refuse a model of which transformers would make up a part, with no more than a warning."""
    mismatched = [key for key, *_ in report["mismatched_keys"]]
    unread = sorted({*report["missing_keys"], *mismatched})
    if unread:
        raise SnipbiasError(
            f"{name} does not hold all of the model that its config.json describes: {len(unread)} "
            f"weights are missing or of another shape ({unread[0]}); download it again."
        )


def _dtype(dtype: DType, place: torch.device, config: PretrainedConfig) -> torch.dtype | str:
    if dtype not in ("auto", "stored"):
        return getattr(torch, dtype)
    if place.type == "cpu" and dtype == "auto":
        return torch.float32
    stored = getattr(config, "dtype", None)
    return torch.bfloat16 if stored == torch.float16 and _is_t5(config) else "auto"


def _is_t5(config: PretrainedConfig) -> bool:
    return config.model_type in ("t5", "mt5", "umt5")


def _refuse_float16(config: PretrainedConfig, dtype: DType) -> None:
    if dtype == "float16" and _is_t5(config):
        raise SnipbiasError(
            "T5 overflows in float16 (its FFN outputs pass 65,504): use bfloat16 or float32."
        )


def require_gguf() -> None:
    try:
        import gguf  # noqa: F401
    except ImportError:
        raise SnipbiasError(
            "reading a GGUF file needs the package gguf: pip install 'snipbias[gguf]'."
        ) from None


@contextmanager
def _one_sentence(source: _Source) -> Iterator[None]:
    """Turn what transformers raises for a model it cannot load into one sentence.

    A damaged configuration or file surfaces as almost any exception, hence the broad clause.
    """
    try:
        yield
    except SnipbiasError:
        raise
    except ImportError as error:
        raise SnipbiasError(f"{source.name} cannot be loaded: {_one_line(error)}.") from error
    except Exception as error:
        said = _one_line(error)
        if isinstance(error.__cause__, LocalEntryNotFoundError):
            gone = "" if constants.HF_HUB_OFFLINE else " and the hub cannot be reached"
            said = f"it is not in the local cache{gone}"
        if source.is_local:
            hint = "check that its files are whole"
            if list(Path(source.place).glob("*.bin")):
                hint = "pickled weights (*.bin) could run code: save it again as safetensors"
        elif constants.HF_HUB_OFFLINE:
            hint = "HF_HUB_OFFLINE is set, so get it where there is a network"
        else:
            hint = "check its name and the connection to the hub"
        raise SnipbiasError(f"cannot load the model {source.name} ({said}): {hint}.") from error


def _one_line(error: Exception) -> str:
    return (shorten(str(error), 200) or type(error).__name__).rstrip(".")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' progress bars and notes, which are not about the user's work."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        # The GGUF reader draws a bar of its own that no setting turns off.
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
