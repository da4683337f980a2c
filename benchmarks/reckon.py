"""What snipbias costs on models that were not run here, on paper: docs/scale.md.

python -m benchmarks.reckon

Every number above `rows` is an assumption or was measured by `benchmarks.scale`; the rest is
arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Measured by `python -m benchmarks.scale` on SmolLM2 in bfloat16: an attribution's time over an
# answer's, and what a pass holds for a token, in copies of the outputs of all sites.
FIND_OVER_ANSWER = 3.9
HELD_BY_FIND, HELD_BY_ANSWER = 2.9, 0.15
# Assumed: an A100 of 80 GB in bfloat16, and the share of its peak that passes this short reach.
PEAK, REACHED, MEMORY = 312e12, 0.3, 80e9
BYTES = 2
# Of a prompt of BBQ with its options, in tokens; of finding (10 items, 10 instructions); of one
# method's answers on the held-out two fifths of BBQ's SES (6,864 rows, 10 instructions).
TOKENS, FOUND_ON, ANSWERED = 150, 100, 27_456


@dataclass(frozen=True)
class Shape:
    """A decoder of Llama's kind."""

    name: str
    layers: int
    hidden: int
    keys: int
    inner: int
    vocabulary: int = 32_000

    @property
    def outputs(self) -> int:
        """Of all sites: q, k, v, o, gate, up and down."""
        return self.layers * (3 * self.hidden + 2 * self.keys + 2 * self.inner)

    @property
    def weights(self) -> int:
        """Of the layers, of which each takes part in every token, and of the two tables."""
        attention = 2 * self.hidden * (self.hidden + self.keys)
        layers = self.layers * (attention + 3 * self.hidden * self.inner)
        return layers + 2 * self.vocabulary * self.hidden


SHAPES = (
    Shape("7B", layers=32, hidden=4096, keys=4096, inner=11_008),
    Shape("70B", layers=80, hidden=8192, keys=1024, inner=28_672),
)


def rows(shape: Shape) -> Iterator[tuple[str, str]]:
    """What it costs, in words and figures."""
    answer = 2 * shape.weights * TOKENS / (PEAK * REACHED)
    yield "weights, bfloat16", f"{shape.weights * BYTES / 1e9:.0f} GB"
    yield "neurons", f"{shape.outputs:,}"
    yield "a prompt answered", f"{answer * 1e3:.0f} ms"
    yield "a prompt attributed", f"{answer * FIND_OVER_ANSWER * 1e3:.0f} ms"
    yield f"find, {FOUND_ON} prompts", f"{answer * FIND_OVER_ANSWER * FOUND_ON:.0f} s"
    yield f"one method's {ANSWERED:,} answers", f"{answer * ANSWERED / 60:.0f} min"
    held = [shape.outputs * BYTES * copies for copies in (HELD_BY_FIND, HELD_BY_ANSWER)]
    yield "memory a token, attributed", f"{held[0] / 1e6:.0f} MB"
    yield "memory a token, answered", f"{held[1] / 1e6:.1f} MB"
    yield "memory per prompt, attributed", f"{held[0] * TOKENS / 1e9:.1f} GB"
    gpus = 1
    while (spare := gpus * MEMORY - shape.weights * BYTES) < 2 * held[0] * TOKENS:
        gpus += 1
    yield "GPUs of 80 GB that hold it", f"{gpus}"
    yield "prompts per batch that fit there, attributed", f"{0.8 * spare / (held[0] * TOKENS):.0f}"


if __name__ == "__main__":
    tables = [list(rows(shape)) for shape in SHAPES]
    print("| one copy of the model |", " | ".join(shape.name for shape in SHAPES), "|")
    print("| --- |", " | ".join("--:" for _ in SHAPES), "|")
    for entries in zip(*tables, strict=True):
        print(f"| {entries[0][0]} |", " | ".join(figure for _, figure in entries), "|")
