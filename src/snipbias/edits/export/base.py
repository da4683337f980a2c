"""Records of an export and its base model, and what they add to a card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from snipbias.base.markdown import Markdown
from snipbias.edits.card.card import template
from snipbias.edits.card.facts import REPOSITORY
from snipbias.edits.export.check import ExportCheck
from snipbias.models.language_model import LanguageModel
from snipbias.models.source import DEMO

Format = Literal["lora", "ia3", "checkpoint"]


@dataclass(frozen=True)
class Base:
    """The model that an adapter is loaded on."""

    name: str | None  # hub id or absolute path of a folder; None for a model made in memory
    revision: str | None  # the hub's commit
    gguf_file: str | None  # the file in that folder, if the model was read from one
    is_encoder_decoder: bool  # decides which of transformers' auto classes loads it

    @classmethod
    def of(cls, lm: LanguageModel, name: str | None = None) -> Base:
        """Where the model was loaded from, or the name that is given instead."""
        if name is not None:
            return cls(name, None, None, lm.is_encoder_decoder)
        place = lm.model.config.name_or_path or None
        if place is not None and Path(place).is_dir():
            place = str(Path(place).absolute())  # a relative path fails elsewhere
        is_gguf = lm.name.lower().endswith(".gguf")
        commit = None if lm.revision is None or ":" in lm.revision else lm.revision
        return cls(place, commit, Path(lm.name).name if is_gguf else None, lm.is_encoder_decoder)

    @property
    def on_hub(self) -> bool:
        """Whether the name is a hub id, which is the same for everybody."""
        name = self.name or ""
        return REPOSITORY.fullmatch(name) is not None and not Path(name).exists()


@dataclass(frozen=True)
class Exported:
    """An exported folder.

    Attributes:
        format: lora, ia3 or checkpoint.
        base: the model that it belongs to.
        neurons: number of outputs that it changes, in `modules` layers.
        modules: number of these layers.
        rank: the largest rank of a LoRA adapter; None for other formats.
        bias: whether a LoRA adapter has bias terms, which PEFT reads but others may ignore.
        check: how far it is from the hooked model; None if not checked.
    """

    format: Format
    base: Base
    neurons: int
    modules: int
    rank: int | None
    bias: bool
    check: ExportCheck | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)

    def loading_code(self, name: str) -> str:
        """Code that loads the folder, without paths of this machine: an adapter names its base."""
        base = self.base
        is_demo = base.name is not None and Path(base.name) == DEMO.absolute()
        named = {"gguf_file": base.gguf_file, "revision": base.revision}
        given = (f", {option}={json.dumps(value)}" for option, value in named.items() if value)
        code = template("load.py.jinja").render(
            format=self.format,
            name=name,
            base=base,
            auto="AutoModelForSeq2SeqLM" if base.is_encoder_decoder else "AutoModelForCausalLM",
            is_demo=is_demo,
            is_folder=base.name and not is_demo and not base.on_hub,
            where=Markdown("".join(["base", *given])),
        )
        return code.rstrip("\n")

    @property
    def checked(self) -> str:
        """How the export was checked, in words."""
        said = "It was not checked against the edited model."
        if check := self.check:
            said = (
                f"Checked in float32 on {check.tokens} tokens: its logits differ from those of the "
                f"edited model by at most {check.difference:.1e} of the largest; the edit itself "
                f"moves them by {check.effect:.1e}."
            )
        if self.bias:
            said += (
                " It has bias terms, which PEFT's `add_weighted_adapter` ignores: combine edits "
                "with snipbias and export the result."
            )
        return said
