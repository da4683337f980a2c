"""Write a plain Hugging Face checkpoint with the edit in its weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import GenerationConfig

from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.models.language_model import LanguageModel
from snipbias.models.source import quiet_transformers


def write_checkpoint(lm: LanguageModel, edit: NeuronEdit, folder: Path) -> None:
    """Bake the edit, save model and tokenizer, and restore the model.

    Args:
        folder: an existing folder.

    Raises:
        SnipbiasError: a weight is quantised, not in memory, or shared between layers.
        OSError: the disk is full.
    """
    model, config, generation = lm.model, lm.model.config, lm.model.generation_config
    sampling = config._get_generation_parameters()
    # A model read from GGUF is marked as quantised, though its weights are plain numbers.
    quantizer = getattr(model, "hf_quantizer", None)
    method = getattr(getattr(quantizer, "quantization_config", None), "quant_method", None)
    marks = ("hf_quantizer", "quantization_config") if method == "gguf" else ()
    baked = edit.bake(lm)
    try:
        with _without(model, marks), _without(config, (*marks, *sampling)), quiet_transformers():
            model.generation_config = GenerationConfig()
            model.save_pretrained(folder)
            lm.tokenizer.save_pretrained(folder)
    except Exception as error:
        if "(os error " in str(error):  # how Rust libraries report a full disk
            raise OSError(str(error)) from error
        if "shared tensors" in str(error):
            raise SnipbiasError(
                "the model's layers share a weight, which transformers cannot save in a "
                "checkpoint: export an adapter."
            ) from None
        raise
    finally:
        model.generation_config = generation
        baked.undo()
    if generation is not None:
        settings = GenerationConfig(**generation.to_dict() | sampling)
        (folder / "generation_config.json").write_text(settings.to_json_string(), encoding="utf-8")


@contextmanager
def _without(owner: object, names: Iterable[str]) -> Iterator[None]:
    """Remove attributes that transformers refuses to save, while inside."""
    kept = {name: vars(owner).pop(name) for name in names if name in vars(owner)}
    try:
        yield
    finally:
        vars(owner).update(kept)


def rounding(lm: LanguageModel, edit: NeuronEdit) -> float:
    """Relative rounding error of a scaled row; 0 if the weights' type holds it exactly.

    Zeros are exact in every type; other factors are not in 16 bits.
    """
    scaled = [site for site, units in edit.factors.items() if any(units.values())]
    types = {lm.module(site).weight.dtype for site in scaled} - {torch.float32, torch.float64}
    return max((torch.finfo(dtype).eps for dtype in types), default=0.0)
