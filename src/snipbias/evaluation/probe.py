"""Whether a model represents which questions can be answered better than its answers show.

A linear probe reads the residual stream where the answer begins. It learns on neutral questions
alone (`tasks/answerable.py`); its layer and penalty are chosen on neutral questions left out; then
it is tried on the task, against plain, filler and mismatch rows. Beside it stand the model's own
output (the margin of "unknown") and what reads no model: words, length, and shuffled labels.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from snipbias.base.plot import average
from snipbias.base.table import Grid
from snipbias.edits.given import GivenModel, GivenTask, as_model, as_task
from snipbias.evaluation import ridge
from snipbias.evaluation.apart import NAMES
from snipbias.evaluation.estimate import Estimate, estimate
from snipbias.evaluation.margin import auroc
from snipbias.evaluation.measures import Discrimination
from snipbias.evaluation.rows import Rows
from snipbias.models.backbone import Query
from snipbias.models.batching import BatchSize, Progress, Stage
from snipbias.models.language_model import LanguageModel
from snipbias.models.residual import states
from snipbias.tasks.answerable import answerable
from snipbias.tasks.items import Item, Task
from snipbias.tasks.unanswerable import UNANSWERABLE

OUTPUT, INSIDE, PURIFIED = "output", "probe", "probe without surface"
SHUFFLES = 20
# The share of the blocks that are read: what can be answered is told best halfway, and worse above.
DEPTH = 2 / 3


@dataclass(frozen=True)
class Probe:
    """The result of the probe.

    Attributes:
        layer: the block whose output it reads, chosen on neutral questions from `layers` blocks.
        by_layer: AUROC of the probe at each block, on neutral questions left out; mean over the
            three kinds of unanswerable rows.
        neutral: the same of the chosen block, by kind.
        told: AUROC on the task, by signal (output, probe, controls) and by kind.
        ahead: AUROC of the probe minus that of the output, by kind.
        pairs: number of neutral pairs that it learned on.
    """

    layer: int
    layers: int
    by_layer: tuple[float, ...]
    neutral: dict[str, float]
    told: dict[str, dict[str, Estimate]]
    ahead: dict[str, Estimate]
    pairs: int

    def grid(self) -> Grid:
        """One line per signal, the output first."""

        def cell(found: Estimate) -> str:
            if found.value is None:
                return "-"
            ends = found.interval
            return f"{found.value:.2f}" + (f" [{ends.low:.2f}, {ends.high:.2f}]" if ends else "")

        title = "Unanswerable rows told from answerable ones: AUROC [95 %]"
        told = self.told.items()
        rows = ((name, *(cell(found[kind]) for kind in UNANSWERABLE)) for name, found in told)
        header = ("signal", *(NAMES[kind] for kind in UNANSWERABLE))
        return Grid(title, header, tuple(rows), strong=(INSIDE,))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return asdict(self)


def probe(
    lm: GivenModel,
    task: GivenTask,
    *,
    seed: int = 0,
    batch_size: BatchSize = "auto",
    stage: Stage = lambda name, jobs: None,
    progress: Progress = lambda done: None,
) -> Probe:
    """Learn a probe on neutral questions, and test it on the task.

    Args:
        lm: a model, or what `sb.load` takes.
        task: its rows with filler and mismatch rows, as `with_controls` makes them; asked under its
            first instruction.
        seed: seed of the shuffled labels.
        batch_size: prompts per pass, or `auto`; no result depends on it.
        stage: called with what is about to be done, and with its number of prompts.
        progress: called with the number of prompts just done.
    """
    asked = as_model(lm), as_task(task)
    return probe_and_rows(*asked, stage, seed, batch_size=batch_size, progress=progress)[0]


def probe_and_rows(
    lm: LanguageModel, task: Task, stage: Stage, seed: int = 0, **options: Any
) -> tuple[Probe, Rows]:
    """The result of `probe`, and the model's answers to the task from the same passes.

    Args:
        lm, task, stage, seed: as in `probe`.
        options: `batch_size` and `progress`.
    """
    neutral = answerable("mini" if task.name.startswith("mini") else "")  # words that it knows
    items, n = (*neutral.items, *task.items), len(neutral)
    queries = lm.queries([task.prompt.ask(task.instructions[0], item) for item in items])
    stage("reading the residual stream", len(queries))
    inside, logprobs = states(lm, queries[n:], **options)
    read = math.ceil(DEPTH * len(inside))
    unanswered = [Query(query.prompt, (query.options[0][:1],)) for query in queries[:n]]
    neutral_inside, _ = states(lm, unanswered, blocks=read, **options)
    inside = np.concatenate([neutral_inside, inside[:read]], 1)
    rows = Rows.of_items(task.items, logprobs)
    surface, words = _surface(items, queries), _words(items, n)
    return learned(inside, surface, words, neutral.items, rows, seed), rows


def learned(
    inside: Float[np.ndarray, "layers n d"],
    surface: Float[np.ndarray, "n k"],
    words: Float[np.ndarray, "n v"],
    neutral: Sequence[Item],
    rows: Rows,
    seed: int = 0,
) -> Probe:
    """The probe and its controls, from features of the neutral rows and then of the task's.

    Args:
        inside: the residual stream of every layer.
        surface: length and other features that no model is needed for; the first is the length.
        words: how often each word stands in a row.
        rows: the task's, as the model answered them.
    """
    n = len(neutral)
    condition = np.array([item.condition for item in neutral])
    unanswerable = condition != "disambiguated"
    kinds = [condition == kind for kind in UNANSWERABLE]
    group = np.array([int(item.template) for item in neutral])

    def best(x: Float[np.ndarray, "n d"]) -> tuple[float, Float[np.ndarray, " kinds"]]:
        """The penalty that is best on groups left out, and its AUROC of each kind of rows."""
        left_out = ridge.held_out_scores(x[:n], unanswerable, group)
        found = np.array(
            [[auroc(s[kind], s[~unanswerable]) or 0.5 for kind in kinds] for s in left_out]
        )
        chosen = int(found.mean(1).argmax())
        return ridge.PENALTIES[chosen], found[chosen]

    def scores(x: np.ndarray, penalty: float, labels: np.ndarray = unanswerable) -> Rows:
        (direction,) = ridge.fit(x[:n], labels, [penalty])
        return _as_rows(direction(x[n:]), rows)

    by_layer = [best(x) for x in inside]
    layer = int(np.argmax([found.mean() for _, found in by_layer]))
    x, (penalty, neutral_auroc) = inside[layer].astype(float), by_layer[layer]
    pure = ridge.residual(x, surface, np.arange(len(x)) < n)
    read = {
        OUTPUT: rows,
        INSIDE: scores(x, penalty),
        PURIFIED: scores(pure, penalty),
        "bag of words": scores(words, best(words)[0]),
        "length": scores(surface[:, :1], ridge.PENALTIES[0]),
    }
    told = {
        name: {kind: estimate(Discrimination(kind), [found]) for kind in UNANSWERABLE}
        for name, found in read.items()
    }
    rng = np.random.default_rng(seed)
    shuffled = [scores(x, penalty, rng.permutation(unanswerable)) for _ in range(SHUFFLES)]
    told["shuffled labels"] = {
        kind: Estimate(average(list(map(Discrimination(kind), shuffled)))) for kind in UNANSWERABLE
    }
    ahead = {k: estimate(Discrimination(k), [read[INSIDE]], [rows]) for k in UNANSWERABLE}
    return Probe(
        layer,
        len(inside),
        tuple(float(found.mean()) for _, found in by_layer),
        dict(zip(UNANSWERABLE, neutral_auroc.tolist(), strict=True)),
        told,
        ahead,
        len(set(group)),
    )


def _as_rows(scores: Float[np.ndarray, " rows"], rows: Rows) -> Rows:
    """Rows whose margin of "unknown" is a score of one's own, for the metrics of margins."""
    table = np.where(rows.present, 0.0, -np.inf)
    there = np.flatnonzero(rows.unknown >= 0)
    table[there, rows.unknown[there]] = scores[there]
    return replace(rows, scores=table, probabilities=False)


def _surface(items: Sequence[Item], queries: Sequence[Query]) -> Float[np.ndarray, "n k"]:
    """Tokens, sentences, words that context and question share, place and length of "unknown"."""
    found = []
    for item, query in zip(items, queries, strict=True):
        asked = set(_split(item.question))
        shared = len(asked & set(_split(item.context)))
        unknown = item.unknown if item.unknown is not None else -1
        sentences = len(re.findall(r"[.!?;]", item.context))
        of_unknown = unknown, len(query.options[unknown])
        found.append(
            (len(query.prompt), sentences, shared, shared / max(1, len(asked)), *of_unknown)
        )
    return np.array(found, dtype=float)


def _words(items: Sequence[Item], learned_on: int) -> Float[np.ndarray, "n v"]:
    """Word counts of every item, over the words of the first `learned_on` items."""
    counts = [Counter(_split(f"{item.context} {item.question}")) for item in items]
    known = sorted(set().union(*counts[:learned_on]))
    return np.array([[count[word] for word in known] for count in counts], dtype=float)


def _split(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())
