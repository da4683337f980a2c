"""Write a plain Hugging Face checkpoint with the edit in its weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import GenerationConfig, PreTrainedModel

from snipbias.edits.edit import NeuronEdit
from snipbias.models.language_model import LanguageModel
from snipbias.models.source import quiet_transformers


def write_checkpoint(lm: LanguageModel, edit: NeuronEdit, folder: Path) -> None:
    """Bake the edit, save model and tokenizer, and restore the model.

    Args:
        folder: an existing folder.

    Raises:
        SnipbiasError: a weight is quantised or not in memory.
        OSError: the disk is full.
    """
    baked = edit.bake(lm)
    try:
        with _plain(lm.model), _any_sampling(lm.model, folder), quiet_transformers():
            lm.model.save_pretrained(folder)
            lm.tokenizer.save_pretrained(folder)
    except Exception as error:
        if "(os error " in str(error):  # how Rust libraries report a full disk
            raise OSError(str(error)) from error
        raise
    finally:
        baked.undo()


@contextmanager
def _any_sampling(model: PreTrainedModel, folder: Path) -> Iterator[None]:
    """Write generation settings as they are, since transformers refuses unusual ones."""
    config, own = model.config, model.generation_config
    misplaced = config._get_generation_parameters()
    model.generation_config = GenerationConfig()
    for name in misplaced:
        delattr(config, name)
    try:
        yield
    finally:
        model.generation_config = own
        for name, value in misplaced.items():
            setattr(config, name, value)
    if own is not None:
        settings = own.to_dict() | misplaced
        text = GenerationConfig(**settings).to_json_string()
        (folder / "generation_config.json").write_text(text, encoding="utf-8")


@contextmanager
def _plain(model: PreTrainedModel) -> Iterator[None]:
    """Remove the mark "read from GGUF", with which transformers refuses to save a model.

    The weights have been plain numbers since they were read, and should be loaded as such.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    method = getattr(getattr(quantizer, "quantization_config", None), "quant_method", None)
    owners = ((model, "hf_quantizer"), (model.config, "quantization_config"))
    marks = [(owner, name) for owner, name in owners if name in vars(owner) and method == "gguf"]
    kept = [vars(owner).pop(name) for owner, name in marks]
    try:
        yield
    finally:
        for (owner, name), value in zip(marks, kept, strict=True):
            setattr(owner, name, value)


def rounding(lm: LanguageModel, edit: NeuronEdit) -> float:
    """Relative rounding error of a scaled row; 0 if the weights' type holds it exactly.

    Zeros are exact in every type; other factors are not in 16 bits.
    """
    scaled = [site for site, units in edit.factors.items() if any(units.values())]
    types = {lm.module(site).weight.dtype for site in scaled} - {torch.float32, torch.float64}
    return max((torch.finfo(dtype).eps for dtype in types), default=0.0)
