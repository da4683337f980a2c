"""Any task of EleutherAI's lm-evaluation-harness before and after each edit (extra `lm-eval`).

The harness does the work with its own prompts and metrics on an `EditedLM`: the original model,
then each edit in turn. An encoder-decoder runs on its `seq2seq` backend, which does not score the
end token of an answer, unlike the rest of this package.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import ttest_rel

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import ORIGINAL, did_you_mean, one_line
from snipbias.edits.given import Intervention
from snipbias.evaluation.evaluate import method_names
from snipbias.evaluation.harness_scores import HarnessScore, HarnessScores
from snipbias.evaluation.interval import Interval
from snipbias.models.batching import BatchSize, Progress
from snipbias.models.language_model import LanguageModel

BATCH_SIZE = 16
LEVEL = 0.95
# Draws for the stderr of the few metrics that are no mean (BLEU, F1, ...); the harness's own
# 100,000 take minutes and change the third digit.
BOOTSTRAPS = 1000


def harness_scores(
    lm: LanguageModel,
    tasks: Sequence[str],
    edits: Sequence[Intervention] = (),
    *,
    limit: int | None = None,
    batch_size: BatchSize = "auto",
    include_path: str | Path | None = None,
    progress: Progress = lambda done: None,
) -> HarnessScores:
    """Run tasks of the lm-evaluation-harness on the original model and under each edit alone.

    Prompts go through the chat template where `lm.chat` says so. Samples count as independent of
    each other: the interval of a change is Student's t over the paired differences of samples, with
    the exact bounds of `interval`.

    Args:
        tasks: names of tasks, groups or tags of the harness.
        edits: anything that can be applied; labels tell them apart.
        limit: use only this many samples of each task, the first ones.
        batch_size: batch size of the harness; `auto` is 16, since its own search runs on GPUs only.
        include_path: a folder with task files (YAML) of your own.
        progress: called with 1 whenever a method is done.

    Raises:
        SnipbiasError: the package or a task is missing, or its data cannot be had.
    """
    labels = method_names(lm, edits)
    results: dict[str, Any] = {}
    with _undisturbed():
        manager = _manager(tasks, include_path)
        model = library("snipbias.evaluation.edited_lm").EditedLM
        size = BATCH_SIZE if batch_size == "auto" else batch_size
        for label, edit in zip(labels, (None, *edits), strict=True):
            results[label] = _run(model(lm, edit, batch_size=size), tasks, manager, limit)
            progress(1)
    first = results[ORIGINAL]
    names = [(task, key) for task in first["results"] for key in _metrics(first, task)]
    scores = [
        _score(label, task, key, results[label], None if label == ORIGINAL else first)
        for task, key in names
        for label in labels
    ]
    versions = {"lm_eval": version("lm_eval"), **{k: str(v) for k, v in first["versions"].items()}}
    return HarnessScores(tuple(scores), versions)


def _run(model: Any, tasks: Sequence[str], manager: Any, limit: int | None) -> Any:
    try:
        return library("lm_eval").simple_evaluate(
            model=model,
            tasks=list(tasks),
            task_manager=manager,
            limit=limit,
            bootstrap_iters=BOOTSTRAPS,
            apply_chat_template=model.language_model.chat,
        )
    except Exception as error:  # the loaders of data, and a task file's own code, raise any
        raise SnipbiasError(
            f"lm-evaluation-harness could not run {', '.join(tasks)} ({one_line(error)}): check "
            "the task's data, and the connection to the hub."
        ) from error


def _manager(tasks: Sequence[str], include_path: str | Path | None) -> Any:
    """The harness's index of tasks, in which all the tasks are."""
    make = library("lm_eval.tasks").TaskManager
    if not tasks:
        raise SnipbiasError("no task of lm-evaluation-harness is named: name at least one.")
    if include_path is not None:
        if not Path(include_path).is_dir():
            raise SnipbiasError(
                f"there is no folder {include_path}: give one with task files (YAML)."
            )
        own = make(include_path=str(include_path), include_defaults=False)
        if set(tasks) <= set(own.all_subtasks):
            return own  # reading the harness's thousands of tasks takes many seconds
    manager = make(include_path=None if include_path is None else str(include_path))
    known = manager.all_tasks
    for task in tasks:
        if task not in known:
            raise SnipbiasError(
                f"lm-evaluation-harness has no task {task!r}{did_you_mean(task, known)}: "
                "'lm-eval ls tasks' lists them, and a folder with task files adds your own."
            )
    return manager


def _metrics(result: Any, task: str) -> list[str]:
    """The keys of a task's metrics ("acc,none"), without their standard errors."""
    return [
        key
        for key, value in result["results"][task].items()
        if "," in key and "_stderr," not in key and isinstance(value, (int, float))
    ]


def _score(method: str, task: str, key: str, result: Any, original: Any) -> HarnessScore:
    entry, (metric, chosen) = result["results"][task], key.split(",", 1)
    stderr = entry.get(f"{metric}_stderr,{chosen}")
    samples = _samples(result, task, key)
    before = _samples(original, task, key) if original is not None else None
    paired = samples is not None and before is not None and len(samples) == len(before)
    is_share = samples is not None and bool(((samples >= 0) & (samples <= 1)).all())
    return HarnessScore(
        task=task,
        metric=metric if chosen == "none" else key,
        method=method,
        value=float(entry[key]),
        stderr=float(stderr) if isinstance(stderr, (int, float)) else None,
        n=int(entry.get("sample_len") or (0 if samples is None else len(samples))),
        higher_is_better=result["higher_is_better"].get(task, {}).get(metric),
        is_share=is_share,
        change=_change(samples, before, is_share) if paired else None,  # type: ignore[arg-type]
    )


def _samples(result: Any, task: str, key: str) -> Float[np.ndarray, " samples"] | None:
    """A metric's value for each sample; None where their mean is not the metric."""
    metric, chosen = key.split(",", 1)
    logged = [s for s in result["samples"].get(task, ()) if s["filter"] == chosen and metric in s]
    values = [sample[metric] for sample in sorted(logged, key=lambda sample: sample["doc_id"])]
    if not values or not all(isinstance(value, (bool, int, float, np.number)) for value in values):
        return None
    found = np.array(values, dtype=float)
    return found if np.isclose(found.mean(), result["results"][task][key]) else None


def _change(
    after: Float[np.ndarray, " samples"], before: Float[np.ndarray, " samples"], is_share: bool
) -> Interval | None:
    """Mean paired difference with Student's t interval over samples."""
    difference, n = after - before, len(after)
    if n < 2:
        return None
    low = high = estimate = float(difference.mean())
    if np.ptp(difference) > 0:
        low, high = map(float, ttest_rel(after, before).confidence_interval(LEVEL))
    found = Interval(estimate, low, high, LEVEL, n, 1, False, unit="sample")
    return found.with_exact(difference, np.ones(n), (-1.0, 1.0)) if is_share else found


def library(module: str) -> Any:
    """A module of the harness, which carries no types and need not be there.

    Raises:
        SnipbiasError: lm-eval is not installed, or lacks what this module imports.
    """
    try:
        return import_module(module)
    except ImportError:
        raise SnipbiasError(
            "tasks of the lm-evaluation-harness need the package lm-eval: "
            "pip install 'snipbias[lm-eval]'."
        ) from None


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the harness's notes and bars, and without the seeds that it sets for everybody."""
    with ExitStack() as after:
        after.callback(random.setstate, random.getstate())
        after.callback(np.random.set_state, np.random.get_state())
        after.enter_context(torch.random.fork_rng())
        quiet("lm_eval", after)
        nowhere = after.enter_context(open(os.devnull, "w"))
        after.enter_context(redirect_stderr(nowhere))
        # Also for other processes: the harness asks git about the folder it runs in.
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        after.callback(os.close, kept)
        after.callback(os.dup2, kept, 2)
        yield


def quiet(name: str, after: ExitStack) -> None:
    """Only errors of a logger until the stack is left."""
    logger = logging.getLogger(name)
    after.callback(logger.setLevel, logger.level)
    logger.setLevel(logging.ERROR)
