"""Records of an export and its base model, and what they add to a card."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from snipbias.edits.card.facts import REPOSITORY
from snipbias.edits.card.usage import DEMO_FOLDER, DEMO_IMPORT
from snipbias.edits.export.check import ExportCheck
from snipbias.models.language_model import LanguageModel
from snipbias.models.source import DEMO

Format = Literal["lora", "ia3", "checkpoint"]


@dataclass(frozen=True)
class Base:
    """The model that an adapter is loaded on.

    Attributes:
        name: hub id or absolute path of a folder; None for a model made in memory.
        revision: the hub's commit.
        gguf_file: the file in that folder, if the model was read from one.
        is_encoder_decoder: decides which of transformers' auto classes loads it.
    """

    name: str | None
    revision: str | None
    gguf_file: str | None
    is_encoder_decoder: bool

    @classmethod
    def of(cls, lm: LanguageModel, name: str | None = None) -> Base:
        """Where the model was loaded from, or the name that is given instead."""
        is_encoder_decoder = lm.is_encoder_decoder
        if name is not None:
            return cls(name, None, None, is_encoder_decoder)
        place = lm.model.config.name_or_path or None
        if place is not None and Path(place).is_dir():
            place = str(Path(place).absolute())  # a relative path fails elsewhere
        is_gguf = lm.name.lower().endswith(".gguf")
        commit = None if lm.revision is None or ":" in lm.revision else lm.revision
        return cls(place, commit, Path(lm.name).name if is_gguf else None, is_encoder_decoder)

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
        auto = "AutoModelForSeq2SeqLM" if base.is_encoder_decoder else "AutoModelForCausalLM"
        folder = f"folder = {json.dumps(name, ensure_ascii=False)}  # where this file is"
        if self.format == "checkpoint":
            return (
                f"from transformers import {auto}, AutoTokenizer\n\n{folder}\n"
                f"model = {auto}.from_pretrained(folder)\n"
                "tokenizer = AutoTokenizer.from_pretrained(folder)"
            )
        first, classes = "", "PeftModel"
        if base.on_hub:
            found = json.dumps(base.name, ensure_ascii=False)
        elif base.name and Path(base.name) == DEMO.absolute():
            first, found = f"{DEMO_IMPORT}\n\n", DEMO_FOLDER
        elif base.name:
            classes = "PeftConfig, PeftModel"
            found = "PeftConfig.from_pretrained(folder).base_model_name_or_path"
        else:
            found = '"the base model"'
        where = ["base"]
        where += [f"gguf_file={json.dumps(base.gguf_file)}"] if base.gguf_file else []
        where += [f"revision={json.dumps(base.revision)}"] if base.revision else []
        return (
            f"{first}from peft import {classes}\n"
            f"from transformers import {auto}, AutoTokenizer\n\n{folder}\nbase = {found}\n"
            f"model = {auto}.from_pretrained({', '.join(where)})\n"
            f"tokenizer = AutoTokenizer.from_pretrained({', '.join(where)})\n"
            "model = PeftModel.from_pretrained(model, folder)"
        )

    @property
    def checked(self) -> str:
        """How the export was checked, in words."""
        check = self.check
        said = "It was not checked against the edited model."
        if check is not None:
            said = (
                f"Checked in float32 on {check.tokens} tokens: its logits differ from those of the "
                f"edited model by at most {check.difference:.1e} of the largest; the edit itself "
                f"moves them by {check.effect:.1e}."
            )
        if not self.bias:
            return said
        return (
            f"{said} It has bias terms, which PEFT's `add_weighted_adapter` ignores: combine edits "
            "with snipbias and export the result."
        )
