"""Loads exports with plain transformers and PEFT, in a process that never saw snipbias.

    python plain.py FOLDER

FOLDER/case.json lists cases: a folder each, with what goes in and what is to come out. Prints the
largest difference of each case's logits and the layers that an adapter sits on.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import torch
import transformers as tf
from peft import PeftModel
from safetensors.torch import load_file


def model_of(place: Path, base: str | None, encoder_decoder: bool) -> torch.nn.Module:
    """The checkpoint in a folder, or the adapter there on the base model that it names."""
    auto = tf.AutoModelForSeq2SeqLM if encoder_decoder else tf.AutoModelForCausalLM
    config = place / "adapter_config.json"
    if not config.is_file():
        return auto.from_pretrained(place)
    named = json.loads(config.read_text())["base_model_name_or_path"]
    assert named == base, (named, base)
    return PeftModel.from_pretrained(auto.from_pretrained(named), str(place))


def main(folder: Path) -> None:
    """Print a JSON object, case -> difference and layers."""
    warnings.simplefilter("ignore")
    tf.utils.logging.disable_progress_bar()
    logging.disable()
    found = {}
    for case in json.loads((folder / "cases.json").read_text()):
        model = model_of(folder / case["folder"], case["base"], case["encoder_decoder"]).eval()
        data = load_file(folder / case["data"])
        with torch.no_grad():
            logits = model(**{key: data[key] for key in case["inputs"]}).logits
        found[case["folder"]] = {
            "difference": float((logits - data["logits"]).abs().max()),
            "layers": sorted(
                name.removeprefix("base_model.model.")
                for name, module in model.named_modules()
                if hasattr(module, "base_layer")
            ),
        }
    assert "snipbias" not in sys.modules
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
