"""The one loop over prompts: in batches of similar length that fit, shared by the processes.

Batches depend only on the prompts, so that a result depends neither on the machine nor on the
number of processes. They are split further only when memory runs short.
"""

from __future__ import annotations

import gc
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.base.words import plural
from snipbias.models import memory
from snipbias.models.padding import in_batches
from snipbias.models.token_tree import reads_trees

if TYPE_CHECKING:
    from snipbias.models.language_model import LanguageModel

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int], None]
Stage = Callable[[str, int], None]  # name of the next stage, and its number of jobs
BatchSize = int | Literal["auto"]
Kind = Literal["answers", "gradients", "activations", "writing"]

# Padded tokens beyond which a batch gets no faster: docs/scale.md has the measurement.
FASTEST = {"cpu": 512, "cuda": 8192}
# A narrow model takes more on a CPU: as many as have this many values in one layer's output.
FASTEST_VALUES = 2**18
# The same for similar prompts read as one tree, which holds most of these tokens once.
FASTEST_TREE = 1024
# The number of batches is a multiple of this, so that this many processes have equal work and run
# the same batches as one process would.
BATCHES = 4
# What errors say when memory ran out, on any device.
OUT_OF_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")


def run_batches(
    lm: LanguageModel,
    jobs: Sequence[T],
    do: Callable[[Sequence[T]], R],
    *,
    kind: Kind,
    size: Callable[[Any], tuple[int, int]] = attrgetter("size"),
    alike: Callable[[T], Any] | None = None,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Iterator[tuple[Sequence[int], R]]:
    """Run all jobs in batches, each batch in one of the processes.

    Args:
        jobs: what to run.
        do: runs a batch in one pass. It must have no side effects, since it is called again with a
            smaller batch when memory runs out.
        kind: kind of pass; memory per token is measured once for each kind.
        size: returns the tokens of a job's prompt and of its answers; by default its `size`.
        alike: sort key that puts jobs which share tokens next to each other; by default their size.
        batch_size: jobs per batch, or `auto` for the fastest number that fits.
        progress: called in every process with the number of jobs just finished by all; the calls
            add up to `len(jobs)`.

    Yields:
        The job numbers of each batch of this process, and the result of `do`.

    Raises:
        SnipbiasError: a single job does not fit into memory, or the batch size is below 1.
    """
    sizes = [size(job) for job in jobs]
    order = sorted(range(len(jobs)), key=lambda i: sizes[i] if alike is None else alike(jobs[i]))
    fastest = _fastest(lm, alike is not None and reads_trees(lm))
    waiting = deque(workers().share(_cut(order, sizes, batch_size, fastest)))
    limit = math.inf
    # Processes that share a model must run the same passes: none may split a batch by itself.
    one_model = workers().one_model
    if batch_size == "auto" and waiting and not one_model:
        mine = [number for batch in waiting for number in batch]
        longest = max(mine, key=lambda number: sum(sizes[number]))
        trial = partial(_run, do, [jobs[longest]], can_split=False)
        most = max(_padded(batch, sizes) for batch in waiting)
        before = lm.passes.copy()
        limit = memory.room(lm.model, kind, trial, sum(sizes[longest]), most)
        lm.passes = before  # not every process runs a trial
    left = len(jobs)
    while waiting:
        batch = waiting.popleft()
        tokens = _padded(batch, sizes)
        half = len(batch) // 2
        if half and tokens > limit:
            waiting.extendleft((batch[half:], batch[:half]))
            continue
        can_split = half > 0 and not one_model
        result = _run(do, [jobs[number] for number in batch], can_split=can_split)
        if result is None:
            limit = tokens / 2
            waiting.appendleft(batch)
            continue
        yield batch, result[0]
        # The other processes are about as far along.
        done = min(len(batch) * workers().hands, left)
        left -= done
        progress(done)
    if left:
        progress(left)


def one_each(
    lm: LanguageModel, jobs: Sequence[T], do: Callable[[Sequence[T]], Iterable[R]], **how: Any
) -> list[R]:
    """One result per job, in order and in every process.

    Args:
        lm, jobs: as in `run_batches`.
        do: returns the results of a batch.
        how: the keywords of `run_batches`.
    """
    found: dict[int, R] = {}
    for numbers, results in run_batches(lm, jobs, do, **how):
        found.update(zip(numbers, results, strict=True))
    every = workers().gather(found)
    return [every[number] for number in range(len(jobs))]


def _padded(batch: Sequence[int], sizes: Sequence[tuple[int, int]]) -> int:
    """Tokens of a batch with every row padded to the longest."""
    return len(batch) * sum(max(sizes[number][part] for number in batch) for part in (0, 1))


def _fastest(lm: LanguageModel, is_tree: bool) -> int:
    """Padded tokens of a batch beyond which none is faster for this model."""
    if lm.device.type != "cpu":
        return FASTEST["cuda"]
    width = int(lm.model.get_input_embeddings().weight.shape[-1])  # type: ignore[index, arg-type]
    return max(FASTEST_TREE if is_tree else FASTEST["cpu"], FASTEST_VALUES // width)


def _cut(
    order: Sequence[int], sizes: Sequence[tuple[int, int]], batch_size: BatchSize, most: int
) -> list[Sequence[int]]:
    """Split the job numbers into batches, in their order."""
    if batch_size != "auto":
        return list(in_batches(order, batch_size))
    step = BATCHES * math.ceil(workers().hands / BATCHES)
    fewest = len(_filled(order, sizes, most))
    parts = step * math.ceil(fewest / step)
    # The smallest batches that give no more than this many, so that all hold about the same.
    least = bisect_left(range(most), True, key=lambda n: len(_filled(order, sizes, n)) <= parts)
    return _filled(order, sizes, least)


def _filled(
    order: Sequence[int], sizes: Sequence[tuple[int, int]], most: int
) -> list[Sequence[int]]:
    """Split the order into batches of up to `most` padded tokens."""
    batches: list[list[int]] = []
    longest = (0, 0)
    for number in order:
        prompt, answers = sizes[number]
        grown = max(longest[0], prompt), max(longest[1], answers)
        if batches and (len(batches[-1]) + 1) * sum(grown) <= most:
            batches[-1].append(number)
            longest = grown
        else:
            batches.append([number])
            longest = sizes[number]
    return list(batches)


def _run(do: Callable[[Sequence[T]], R], part: Sequence[T], *, can_split: bool) -> tuple[R] | None:
    """The result of a part; None if memory ran out and the part can be split."""
    try:
        return (do(part),)
    except (torch.OutOfMemoryError, MemoryError):
        pass
    except RuntimeError as error:
        if not any(words in str(error) for words in OUT_OF_MEMORY):
            raise
    # Here nothing refers to the pass any more.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if can_split:
        return None
    raise SnipbiasError(
        f"memory ran out with {plural(len(part), 'prompt')}: free some, load the model in "
        "bfloat16 (--dtype), spread it over several devices (--device-map auto), or, with "
        "--tensor-parallel, give a smaller --batch-size."
    )
