"""Records of an export, and the name of its base model under which plain code can load it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from snipbias.edits.card.facts import REPOSITORY
from snipbias.edits.export.check import Check
from snipbias.models.language_model import LanguageModel
from snipbias.models.source import DEMO

Format = Literal["lora", "ia3", "checkpoint"]


@dataclass(frozen=True)
class Base:
    """The model that an adapter is loaded on.

    Attributes:
        name: hub id, or absolute path of a folder; None for a model that was never loaded from one.
        revision: the hub's commit.
        gguf_file: the file in that folder, where the model was read from one.
        is_encoder_decoder: which of transformers' auto classes loads it.
    """

    name: str | None
    revision: str | None
    gguf_file: str | None
    is_encoder_decoder: bool

    @classmethod
    def of(cls, lm: LanguageModel, name: str | None = None) -> Base:
        """Where the model was loaded from; or the name it is to have, if one is given."""
        is_encoder_decoder = lm.is_encoder_decoder
        if name is not None:
            return cls(name, None, None, is_encoder_decoder)
        place = lm.model.config.name_or_path or None
        if place is not None and Path(place).is_dir():
            place = str(Path(place).absolute())  # read from elsewhere, a relative one leads nowhere
        is_gguf = lm.name.lower().endswith(".gguf")
        commit = None if lm.revision is None or ":" in lm.revision else lm.revision
        return cls(place, commit, Path(lm.name).name if is_gguf else None, is_encoder_decoder)

    @property
    def on_hub(self) -> bool:
        """Whether the name is a hub id, which means the same to everybody."""
        name = self.name or ""
        return REPOSITORY.fullmatch(name) is not None and not Path(name).exists()

    @property
    def is_demo(self) -> bool:
        """Whether it is the model that comes with the package."""
        return self.name is not None and Path(self.name) == DEMO.absolute()

    @property
    def auto_class(self) -> str:
        """The class of transformers that loads it."""
        return "AutoModelForSeq2SeqLM" if self.is_encoder_decoder else "AutoModelForCausalLM"

    @property
    def task_type(self) -> str:
        """PEFT's word for the same."""
        return "SEQ_2_SEQ_LM" if self.is_encoder_decoder else "CAUSAL_LM"


@dataclass(frozen=True)
class Exported:
    """An exported folder.

    Attributes:
        base: the model that it belongs to.
        neurons: how many outputs it changes, in `modules` layers.
        rank: the largest of a LoRA adapter; None for other formats.
        bias: whether it is a LoRA adapter with bias terms, which PEFT reads and others may not.
        check: how far it is from the hooked model; None if that was not asked.
    """

    format: Format
    base: Base
    neurons: int
    modules: int
    rank: int | None
    bias: bool
    check: Check | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)
