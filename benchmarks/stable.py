"""What `find --stable` saves and risks: python -m benchmarks.stable"""

from __future__ import annotations

from functools import reduce
from operator import add
from statistics import mean

import snipbias as sb
from snipbias.method.recipes import RECIPES
from snipbias.method.scores import Scores
from snipbias.method.stable import FEWEST, overlap

TASKS, SEEDS, ITEMS = ("mini:age", "mini:ses", "mini:disability"), (0, 1), 48


def _first_block(scores: Scores, n: int) -> int:
    """The number of the first block, both stacks counted, that holds one of the best n neurons."""
    blocks = list(dict.fromkeys((site.side, site.layer) for site in scores.sites))
    where = {site.name: blocks.index((site.side, site.layer)) for site in scores.sites}
    return min(where[neuron.site] for neuron in scores.ranking(n))


def main() -> None:
    """Per recipe, n and share: items read, and how much of the whole draw's top n is found."""
    lm = sb.load("demo")
    print("| recipe | n | share | items read | of the top n of all: mean | least |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in ("v1", "gap"):
        draws, first = [], []
        for spec in TASKS:
            task = sb.task(spec)
            task = task.with_instructions(task.instructions[:2])
            for seed in SEEDS:
                drawn = task.sample(ITEMS, seed)
                draws.append([RECIPES[name].score(lm, drawn._with_items([i])) for i in drawn.items])
                first.append(reduce(add, draws[-1][:10]))
        for n in (3, 10, 30):
            below = mean(_first_block(scores, n) for scores in first)
            print(f"{name}: of the best {n} on ten items the first is in block {below:.1f}")
        for n in (10, 100):
            for share in (0.3, 0.5, 0.7, None):
                found = []
                for each in draws:
                    end, one, two = 0, each[0], each[0]
                    for end in range(2 * FEWEST, ITEMS + 1, 2):
                        one, two = (reduce(add, each[side:end:2]) for side in (0, 1))
                        ten = share is None and end >= 10  # as the paper draws
                        if ten or (share is not None and overlap(one, two, n) >= share):
                            break
                    found.append((end, overlap(one + two, reduce(add, each), n)))
                read, kept = zip(*found, strict=True)
                said = "ten items" if share is None else f"{share}"
                print(
                    f"| {name} | {n} | {said} | {mean(read):.0f} "
                    f"| {mean(kept):.2f} | {min(kept):.2f} |"
                )


if __name__ == "__main__":
    main()
