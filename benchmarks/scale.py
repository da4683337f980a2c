"""What a prompt costs in time and memory, by which docs/scale.md reckons up larger models.

python -m benchmarks.scale [MODEL ...]
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

import snipbias as sb
from snipbias.method.attribute import Asked, asked, batch_bias
from snipbias.method.equations import Method
from snipbias.models import memory
from snipbias.models.language_model import LanguageModel


def run(
    model: str = "demo", *, prompts: int = 8, batch: int = 4, repeats: int = 3
) -> dict[str, Any]:
    """Seconds and bytes a token of answering and of attributing, in float32 and bfloat16.

    Seconds are the processor's. Bytes are what a pass holds at once beside the weights, divided by
    its tokens; `outputs` of them, times the size of a number, are the outputs of all sites.
    """
    found: dict[str, Any] = {"model": model, "batch": batch, "threads": torch.get_num_threads()}
    for dtype in ("float32", "bfloat16"):
        lm = sb.load(model, dtype=dtype)
        jobs = _jobs(lm)[:prompts]
        tokens = sum(len(job.query.prompt) + sum(map(len, job.query.options)) for job in jobs)
        work = {"answer": _answer, "find": _find}
        seconds = {
            name: _seconds(lambda do=do, lm=lm, jobs=jobs: _all(do, lm, jobs, batch), repeats)
            for name, do in work.items()
        }
        held = {name: _held(lm, do, jobs[:batch]) for name, do in work.items()}
        sites = lm.sites
        outputs = sum(site.width for site in sites)
        found[dtype] = {
            "seconds_a_prompt": {name: taken / len(jobs) for name, taken in seconds.items()},
            "find_over_answer": seconds["find"] / seconds["answer"],
            "tokens_a_prompt": tokens / len(jobs),
            "outputs": outputs,
            "bytes_a_token": held,
            "copies_of_the_outputs": {
                name: taken / (outputs * lm.model.dtype.itemsize) for name, taken in held.items()
            },
        }
    return found


def _jobs(lm: LanguageModel) -> list[Asked]:
    task = sb.task("mini:age").sample(10, 0)
    return asked(lm, task.with_instructions(task.instructions[:1]))


def _answer(lm: LanguageModel, jobs: list[Asked]) -> None:
    with torch.inference_mode():
        lm.score([job.query for job in jobs])


def _find(lm: LanguageModel, jobs: list[Asked]) -> None:
    gold = torch.tensor([job.item.gold for job in jobs], device=lm.device)
    batch_bias(lm, [job.query for job in jobs], gold, Method.v1())


def _all(
    do: Callable[[LanguageModel, list[Asked]], None],
    lm: LanguageModel,
    jobs: list[Asked],
    batch: int,
) -> None:
    with lm.frozen():
        for at in range(0, len(jobs), batch):
            do(lm, jobs[at : at + batch])


def _seconds(do: Callable[[], None], repeats: int) -> float:
    def once() -> float:
        start = time.process_time()
        do()
        return time.process_time() - start

    once()
    return median(once() for _ in range(repeats))


def _held(
    lm: LanguageModel, do: Callable[[LanguageModel, list[Asked]], None], jobs: list[Asked]
) -> float:
    sizes = [(len(job.query.prompt), sum(map(len, job.query.options))) for job in jobs]
    padded = len(jobs) * sum(max(column) for column in zip(*sizes, strict=True))
    with lm.frozen():
        return memory.peaks(lm.model, lambda: do(lm, jobs))[torch.device("cpu")] / padded


if __name__ == "__main__":
    for name in sys.argv[1:] or ["demo"]:
        print(json.dumps(run(name), indent=1))
