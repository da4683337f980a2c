"""What is read off an evaluation, and an option's log-probability by the plain model."""

from __future__ import annotations

import numpy as np
import torch

from snipbias.base.words import ORIGINAL
from snipbias.evaluation.evaluate import Evaluation
from snipbias.evaluation.reading import Reading
from snipbias.models.language_model import LanguageModel

KINDS = ("flan-t5", "llama")
LETTERS = Reading(options="letters")


def records(evaluation: Evaluation, method: str = ORIGINAL) -> dict[tuple[str, int], dict]:
    found = {
        (row["item"], row["instruction"]): row
        for row in evaluation.table.to_pylist()
        if row["method"] == method
    }
    assert found
    return found


def plain_logprob(lm: LanguageModel, prompt: str, option: str) -> float:
    """Sum of an option's token log-probabilities, by the model's own forward, alone."""
    tokenizer, model = lm.tokenizer, lm.model
    with torch.no_grad():
        if lm.is_encoder_decoder:
            labels = [*tokenizer(option)["input_ids"], tokenizer.eos_token_id]
            prompt_ids = torch.tensor([tokenizer(prompt)["input_ids"]])
            logits = model(input_ids=prompt_ids, labels=torch.tensor([labels])).logits[0]
        else:
            prefix = tokenizer(prompt)["input_ids"]
            labels = tokenizer(f"{prompt} {option}")["input_ids"][len(prefix) :]
            logits = model(input_ids=torch.tensor([prefix + labels])).logits[0]
            logits = logits[len(prefix) - 1 : -1]
    chosen = logits.double().log_softmax(-1)[range(len(labels)), labels]
    return float(chosen.sum())


def scores_of(evaluation: Evaluation, method: str = ORIGINAL) -> np.ndarray:
    found = records(evaluation, method)
    return np.concatenate([found[key]["score"] for key in sorted(found)])
