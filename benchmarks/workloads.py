"""The models that are measured, and the prompts that they get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers as tf

import snipbias as sb
from snipbias.cli.demo import fetch_smollm2
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.padding import in_batches
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT

MODELS = ("smollm2", "flan-t5-base")
TASK = "mini:age"


@dataclass(frozen=True)
class Workload:
    """A model and a few items; every item has three options and is asked under each instruction."""

    lm: LanguageModel
    task: Task

    @property
    def rows(self) -> list[tuple[Item, Query]]:
        """Every item under every instruction with its query, in the order of `evaluate`'s rows."""
        return [
            (item, self.lm.query(DEFAULT.render(instruction, item), item.options))
            for item in self.task.items
            for instruction in self.task.instructions
        ]

    def batches(self, size: int) -> Iterator[Sequence[tuple[Item, Query]]]:
        """The rows in batches of similar length, as `find` makes them."""
        return in_batches(sorted(self.rows, key=lambda row: len(row[1].prompt)), size)

    def of(self, items: int) -> Workload:
        """The same with so many items, the drawn ones over and over."""
        drawn = self.task.items
        many = tuple(
            replace(drawn[i % len(drawn)], id=f"{drawn[i % len(drawn)].id}/{i}")
            for i in range(items)
        )
        return replace(self, task=replace(self.task, items=many))


def workload(model: str, items: int, instructions: int = 1) -> Workload:
    """`items` items of the shipped questions, under the first instructions, for a model."""
    lm = model_of(model)
    task = sb.task(TASK).sample(items, seed=0)
    return Workload(lm, task.with_instructions(task.instructions[:instructions]))


def place_of(model: str, folder: Path) -> str:
    """What the command line calls a model; one that is nowhere is written into the folder."""
    if model == "smollm2":
        return str(fetch_smollm2())
    if model != "flan-t5-base":
        return model
    lm = model_of(model)
    lm.model.save_pretrained(folder)
    lm.tokenizer.save_pretrained(folder)
    return str(folder)


@cache
def model_of(name: str) -> LanguageModel:
    """A model by its name here, in float32 on the CPU."""
    if name == "flan-t5-base":
        return flan_t5_base()
    return sb.load(fetch_smollm2() if name == "smollm2" else name, device="cpu", dtype="float32")


def flan_t5_base() -> LanguageModel:
    """Flan-T5-base's shape with random weights; prompts in the demo model's words.

    Those make a prompt about as long as Flan-T5's own tokenizer does.
    """
    torch.manual_seed(0)
    kind: Any = tf.T5Config  # its fields are those of a dataclass made at run time
    config = kind(
        vocab_size=32128, d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = tf.T5ForConditionalGeneration(config).eval()
    # Random heads give logits of hundreds, of which float32 holds no fourth decimal.
    model.lm_head.weight.data.mul_(768**-0.5)
    return sb.wrap(model, sb.load("demo").tokenizer, name="random weights of Flan-T5-base's shape")
