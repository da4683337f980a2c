"""Experiments made by hand: every answer is given, so that every cell of a table is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.estimate import Estimate as Estimate
from snipbias.evaluation.evaluate import _SCHEMA
from snipbias.evaluation.neutral_text import Passage, TextShift
from snipbias.experiment.outcome import Outcome, Point, TaskInfo
from snipbias.experiment.results import Results
from snipbias.experiment.settings import Settings
from snipbias.models.sites import Block, Neuron, Side, Site

UNKNOWN, BIASED, OTHER = 2, 0, 1
P_CHOSEN, P_REST = 0.6, 0.2
MODEL = ModelId("google/flan-t5-base", "T5ForConditionalGeneration", 1000, "0" * 16)

Answer = Callable[[str, int, int], int]  # condition, template, instruction -> option


def gold_of(condition: str, template: int) -> int:
    """Ambiguous: unknown. Disambiguated: the biased option in every second template."""
    return UNKNOWN if condition == "ambiguous" else template % 2


def right(condition: str, template: int, instruction: int) -> int:
    """Always the gold option."""
    return gold_of(condition, template)


def says(option: int) -> Answer:
    """Always the same option."""
    return lambda condition, template, instruction: option


def table(
    method: str, answer: Answer, *, templates: int = 4, instructions: int = 2, plain: bool = False
) -> pa.Table:
    """A row a template, condition and instruction; the chosen option has P = .6, the others .2.

    `plain` rows have no condition, no unknown and no biased option, as a task of other kind.
    """
    records = []
    for instruction in range(instructions):
        for template in range(templates):
            for condition in ("ambiguous", "disambiguated"):
                chosen = answer(condition, template, instruction)
                p = [P_CHOSEN if i == chosen else P_REST for i in range(3)]
                logprob = [math.log(each) for each in p]
                records.append(
                    {
                        "method": method,
                        "item": f"{template}-{condition}",
                        "instruction": instruction,
                        "template": f"t{template}",
                        "condition": None if plain else condition,
                        "polarity": None,
                        "twin": f"{template}",
                        "gold": gold_of(condition, template),
                        "unknown": None if plain else UNKNOWN,
                        "biased": None if plain else BIASED,
                        "chosen": chosen,
                        "logprob": logprob,
                        "score": logprob,
                        "tokens": [1, 1, 1],
                        "probabilities": True,
                        "text": None,
                    }
                )
    return pa.Table.from_pylist(records, schema=_SCHEMA)


def outcome(
    method: str,
    answer: Answer,
    task: str = "bbq:SES",
    trial: int | None = None,
    draw: int = 0,
    *,
    dev: Answer | None = None,
    text: tuple[float, float] | None = None,
    retention: Mapping[str, Answer] | None = None,
    rows: Mapping[str, Any] | None = None,
    **rest: Any,
) -> Outcome:
    """An outcome whose rows answer as told."""
    shape = dict(rows or {})
    return Outcome(
        method=method,
        task=task,
        trial=trial,
        draw=draw,
        test=table(method, answer, **shape),
        dev=table(method, dev, **shape) if dev else None,
        text=shift(*text) if text else None,
        retention={
            name: table(method, kept, plain=True) for name, kept in (retention or {}).items()
        },
        **rest,
    )


def shift(perplexity: float, kl: float) -> TextShift:
    """Two passages of 40 and 60 tokens with these figures each."""
    nll = math.log(perplexity)
    return TextShift.of([Passage(n, n * nll, n * kl) for n in (40, 60)])


def curve(points: Mapping[int, tuple[float, float]]) -> tuple[Point, ...]:
    """Points by number of neurons: (ambiguous, disambiguated) accuracy."""
    return tuple(
        Point({"n": n}, (amb + dis) / 2, amb, dis, (amb + dis) / 2)
        for n, (amb, dis) in points.items()
    )


def sites(layers: int = 2) -> tuple[Site, ...]:
    """An encoder and a decoder with the modules of Flan-T5, ten units each."""
    found = []
    for side in ("encoder", "decoder"):
        for layer in range(layers):
            for block, roles in blocks(side):
                for role in roles:
                    name = f"{side}.block.{layer}.{block}.{role}"
                    found.append(Site(name, 10, side, layer, block, ((role, 10),)))
    return tuple(found)


def blocks(side: Side) -> list[tuple[Block, str]]:
    """The blocks of one stack and their modules' roles by initial."""
    attention: list[tuple[Block, Any]] = [("self-attention", ("q", "k", "v", "o"))]
    if side == "decoder":
        attention.append(("cross-attention", ("q", "k", "v", "o")))
    return [*attention, ("ffn", ("gate", "up", "down"))]


def edit(neurons: Sequence[tuple[str, int]]) -> NeuronEdit:
    """An edit that prunes some neurons of `sites`."""
    return NeuronEdit.of([Neuron(*each) for each in neurons], MODEL)


def info(name: str = "bbq:SES", *, templates: int = 4, instructions: int = 2) -> TaskInfo:
    """The record of a task of `table`'s shape."""
    return TaskInfo(
        name=name,
        fingerprint="f" * 64,
        instructions=tuple(f"instruction {i}" for i in range(instructions)),
        items={"find": 10, "dev": 2 * templates, "test": 2 * templates},
        templates={"find": 5, "dev": templates, "test": templates},
    )


def experiment(outcomes: Sequence[Outcome], **rest: Any) -> Results:
    """An experiment of these outcomes, over the tasks that they name."""
    names = tuple(dict.fromkeys(each.task for each in outcomes))
    methods = tuple(dict.fromkeys(each.method for each in outcomes))
    settings = rest.pop("settings", None) or Settings(methods=methods, tasks=names)
    tasks = rest.pop("tasks", None) or tuple(info(name) for name in names)
    model = rest.pop("model", MODEL)
    return Results(settings, model, sites(), tasks, tuple(outcomes), **rest)
