"""The one loop over prompts: dealt to the processes, of similar length, in batches that fit.

A batch is cut before any is run and by the prompts alone, so that a result depends neither on the
machine nor on the number of processes; only where memory is short are batches cut further.
"""

from __future__ import annotations

import gc
import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from snipbias.base.errors import SnipbiasError
from snipbias.base.parallel import workers
from snipbias.base.words import plural
from snipbias.models import memory
from snipbias.models.padding import in_batches

if TYPE_CHECKING:
    from snipbias.models.language_model import LanguageModel, Query

T = TypeVar("T")
R = TypeVar("R")
Progress = Callable[[int], None]
Stage = Callable[[str, int], None]  # what is done next, and how many jobs it has
BatchSize = int | Literal["auto"]
Kind = Literal["answers", "gradients", "activations", "writing"]

# Padded tokens of a batch beyond which none is faster: docs/scale.md has the measurement.
FASTEST = {"cpu": 512, "cuda": 8192}
# A narrow model takes more of them on a CPU: as many as have so many values in one layer's output.
FASTEST_VALUES = 2**18
# The same where alike prompts are read as one tree, in which most of these tokens stand once.
FASTEST_TREE = 1024
# A loop has a multiple of so many batches, so that as many processes have as much to do and run
# the very batches that one would.
BATCHES = 4


def run_batches(
    lm: LanguageModel,
    jobs: Sequence[T],
    do: Callable[[Sequence[T]], R],
    keep: Callable[[Sequence[int], R], object],
    *,
    size: Callable[[T], tuple[int, int]],
    alike: Callable[[T], Any] | None = None,
    kind: Kind,
    batch_size: BatchSize,
    progress: Progress,
    fastest: int | None = None,
) -> None:
    """Do all jobs in batches, each by one of the processes.

    Args:
        do: a batch of jobs in one pass; it may be called again with a part of them when memory runs
            out, and so must change nothing.
        keep: called with the numbers of the jobs of a batch that is done, and what `do` gave; in
            the process that did it only.
        size: tokens of a job's prompt and of its answers.
        alike: what to sort jobs by so that neighbours go well together; by their size if not given.
        kind: of the passes; what a token takes in memory is measured once for each.
        batch_size: jobs a batch, or `auto`: as many as is fastest and fits.
        progress: called in every process with jobs just done by all of them, to their number.
        fastest: padded tokens of a batch beyond which none is faster, where it is not as usual.

    Raises:
        SnipbiasError: one job by itself does not fit into memory, or the batch size is below 1.
    """
    sizes = [size(job) for job in jobs]
    order = sorted(range(len(jobs)), key=lambda i: sizes[i] if alike is None else alike(jobs[i]))
    waiting = deque(workers().share(_cut(order, sizes, batch_size, _fastest(lm, fastest))))
    limit = math.inf
    # A model that several hold takes the same passes of all: none may cut a batch by itself.
    one_model = workers().one_model
    if batch_size == "auto" and waiting and not one_model:
        mine = [number for batch in waiting for number in batch]
        longest = max(mine, key=lambda number: sum(sizes[number]))
        trial = partial(_or_refuse, do, [jobs[longest]])
        most = max(_padded(batch, sizes) for batch in waiting)
        before = lm.passes.copy()
        limit = memory.room(lm.model, kind, trial, sum(sizes[longest]), most)
        lm.passes = before  # a trial is done or not as the process has it
    left = len(jobs)
    while waiting:
        batch = waiting.popleft()
        tokens = _padded(batch, sizes)
        half = len(batch) // 2
        if half and tokens > limit:
            waiting.extendleft((batch[half:], batch[:half]))
            continue
        part = [jobs[number] for number in batch]
        if half == 0 or one_model:
            result = _or_refuse(do, part)
        elif (result := _unless_full(do, part)) is None:
            limit = tokens / 2
            waiting.appendleft(batch)
            continue
        keep(batch, result[0])
        # The other processes are about as far.
        done = min(len(batch) * workers().hands, left)
        left -= done
        progress(done)
    if left:
        progress(left)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out, on any device."""
    said = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in said)
    )


def size_of(query: Query) -> tuple[int, int]:
    """Tokens of the prompt and of its options: what takes time and memory."""
    return len(query.prompt), sum(map(len, query.options))


def _padded(batch: Sequence[int], sizes: Sequence[tuple[int, int]]) -> int:
    """Tokens of a batch when every row is as long as the longest."""
    return len(batch) * sum(max(sizes[number][part] for number in batch) for part in (0, 1))


def _fastest(lm: LanguageModel, tokens: int | None) -> int:
    """Padded tokens of a batch beyond which none is faster for this model."""
    if lm.device.type != "cpu":
        return tokens or FASTEST["cuda"]
    width = lm.model.get_input_embeddings().weight.shape[-1]  # type: ignore[index]
    return max(tokens or FASTEST["cpu"], FASTEST_VALUES // width)


def _cut(
    order: Sequence[int], sizes: Sequence[tuple[int, int]], batch_size: BatchSize, most: int
) -> list[Sequence[int]]:
    """The numbers of the jobs in batches, in their order."""
    if batch_size != "auto":
        return list(in_batches(order, batch_size))
    step = BATCHES * math.ceil(workers().hands / BATCHES)
    fewest = len(_filled(order, sizes, most))
    parts = step * math.ceil(fewest / step)
    # The least that a batch may hold for there to be no more than so many: all hold about as much.
    least = bisect_left(range(most), True, key=lambda n: len(_filled(order, sizes, n)) <= parts)
    return _filled(order, sizes, least)


def _filled(
    order: Sequence[int], sizes: Sequence[tuple[int, int]], most: int
) -> list[Sequence[int]]:
    """Stretches of the order, each filled up to so many padded tokens."""
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


def _unless_full(do: Callable[[Sequence[T]], R], part: Sequence[T]) -> tuple[R] | None:
    """The result, or None if memory ran out."""
    try:
        return (do(part),)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Only here does nothing refer to the pass any more.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _or_refuse(do: Callable[[Sequence[T]], R], part: Sequence[T]) -> tuple[R]:
    """The result of a job that cannot be made smaller."""
    result = _unless_full(do, part)
    if result is None:
        raise SnipbiasError(
            f"memory ran out over {plural(len(part), 'prompt')}: free some, load the model in "
            "bfloat16 (--dtype), spread it over several devices (--device-map auto), or, with "
            "--tensor-parallel, give a smaller --batch-size."
        )
    return result
