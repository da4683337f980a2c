"""Every language model class of transformers, tiny and random: right, or refused in a sentence.

python tests/sweep.py [CLASS...]          # what came out, a line each
python tests/sweep.py --write             # docs/models.md
"""

from __future__ import annotations

import re
import sys
import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
import transformers as tf
from torch import Tensor

import reference
import tiny
from families import tokenizer
from snipbias.base.errors import SnipbiasError
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.provenance import ModelId
from snipbias.method.attribute import attribute
from snipbias.method.equations import Method
from snipbias.models.language_model import LanguageModel, Query
from snipbias.models.loading import wrap
from snipbias.models.sites import Neuron, unit_dim
from snipbias.tasks.items import Item, Task

PAGE = Path(__file__).parent.parent / "docs/models.md"
Verdict = Literal["right", "refused", "wrong", "not built"]
ITEMS = (
    Item("a", "who is it?", ("old man", "him", "no one"), 1, "a man and a dog", "t1"),
    Item("b", "what?", ("yes we", "no"), 0, "", "t2"),
)
TASK = Task("toy", ITEMS, ("say it.", "choose:"))
QUERIES = [
    Query(tuple(range(4, 4 + n)), tuple(tuple(range(9, 9 + k)) for k in options))
    for n, options in ((37, (1, 5)), (3, (4, 1, 2)), (17, (1, 1)), (1, (3, 2)))
]


@dataclass(frozen=True)
class Outcome:
    """What became of one class: a verdict, and how many sites or why."""

    verdict: Verdict
    why: str = ""


def outcome(name: str, model_type: str) -> Outcome:
    """Build the class and check it, or say what stood in the way."""
    try:
        model = tiny.build(name, model_type)
    except Exception as error:
        return Outcome("not built", f"{type(error).__name__}: {error}")
    try:
        lm = wrap(model, tokenizer(), chat=False)
        with lm.frozen():
            _check_scores(lm)
        _check_attribution(lm)
        _check_pruning(lm)
    except SnipbiasError as error:
        return Outcome("refused", str(error))
    except Exception as error:
        return Outcome("wrong", f"{type(error).__name__}: {error}")
    return Outcome("right", f"{len(lm.sites)}{', whole sequences' * lm.reads_whole}")


def _check_scores(lm: LanguageModel) -> None:
    """Batched, padded and cached scores are the plain model's, one option at a time."""
    with torch.no_grad():
        together = lm.score(QUERIES).logprobs
        for row, query in zip(together, QUERIES, strict=True):
            alone = lm.score([query]).logprobs[0]
            plain = torch.stack([reference.option_logprob(lm, query, o) for o in query.options])
            _same(alone, plain, "scores alone")
            _same(row[: len(alone)], plain, "scores in a batch")


def _check_attribution(lm: LanguageModel) -> None:
    expected = reference.scores(lm, TASK, Method.v1())
    for size in (1, 4):
        found = attribute(lm, TASK, batch_size=size)
        assert {site.name for site in found.sites} == expected.keys(), "sites without a gradient"
        scale = max(float(t.abs().max()) for t in expected.values())
        for site, values in expected.items():
            _same(found[site] / scale, values / scale, f"attribution of {site}, batch {size}")


def _check_pruning(lm: LanguageModel) -> None:
    """One unit of every site: hooked, baked and zeroed by hand agree, and undoing is exact."""
    edit = NeuronEdit.of([Neuron(site.name, site.width // 2) for site in lm.sites], ModelId.of(lm))
    with torch.no_grad(), lm.frozen():
        before = lm.score(QUERIES).logprobs
        with edit.applied(lm):
            hooked = lm.score(QUERIES).logprobs
        baked = edit.bake(lm)
        _same(lm.score(QUERIES).logprobs, hooked, "baked against hooked")
        baked.undo()
        assert torch.equal(lm.score(QUERIES).logprobs, before), "undoing is not exact"
        kept = {name: values.clone() for name, values in lm.model.state_dict().items()}
        for site in lm.sites:
            module, unit = lm.module(site.name), site.width // 2
            module.weight.select(unit_dim(module), unit).zero_()
            if module.bias is not None:
                module.bias[unit] = 0
        by_hand = [[reference.option_logprob(lm, q, o) for o in q.options] for q in QUERIES]
        lm.model.load_state_dict(kept)
        for row, values in zip(hooked, by_hand, strict=True):
            _same(row[: len(values)], torch.stack(values), "hooked against zeroed by hand")
        assert not torch.allclose(hooked, before), "pruning changes nothing"


def _same(found: Tensor, expected: Tensor, what: str) -> None:
    torch.testing.assert_close(
        found.double(),
        expected.double(),
        rtol=2e-4,
        atol=2e-4,
        msg=lambda m: f"{what}: {m.splitlines()[3:5]}",
    )


def sweep(names: Collection[str] = ()) -> dict[str, Outcome]:
    """The outcome of every class, or of some."""
    warnings.simplefilter("ignore")
    tf.logging.set_verbosity_error()
    every = sorted(tiny.classes().items(), key=lambda entry: entry[0].lower())
    return {
        name: outcome(name, model_type) for name, model_type in every if not names or name in names
    }


SECTIONS: dict[Verdict, tuple[str, str]] = {
    "right": ("Supported", "How options are read"),
    "refused": ("Refused", "What snipbias says"),
    "not built": ("Not built", "Why this sweep has no tiny model of it"),
}


def page(found: dict[str, Outcome]) -> str:
    """The tables of docs/models.md: the classes of each reason."""
    counts = Counter(one.verdict for one in found.values())
    lines = [
        f"transformers {tf.__version__}: {counts['right']} classes are supported, "
        f"{counts['refused']} are refused, {counts['not built']} were not built.",
    ]
    for verdict, (title, column) in SECTIONS.items():
        alike: dict[str, list[str]] = {}
        for name, one in found.items():
            if one.verdict == verdict:
                alike.setdefault(_reason(name, one), []).append(f"`{name}`")
        lines += ["", f"## {title}", "", f"| {column} | Classes |", "|---|---|"]
        ranked = sorted(alike.items(), key=lambda entry: -len(entry[1]))
        lines += [f"| {why} | {', '.join(names)} |" for why, names in ranked]
    return "\n".join(lines) + "\n"


def _reason(name: str, one: Outcome) -> str:
    """Why, without the layers' names, which differ from class to class."""
    if one.verdict == "right":
        return "whole sequences" if "whole" in one.why else "after a cache of the prompt"
    why = one.why.removeprefix(f"{name} ").split("\n")[0].removeprefix("is not supported: ")
    why = re.sub(r" \([\w.]*[._]?\w+\)", "", why)
    return re.sub(r"\w+(\.\w+){2,}", "...", why).replace("|", "\\|").strip()


def written() -> tuple[str, dict[str, str]]:
    """What docs/models.md says: the version of transformers, and each class's verdict."""
    text = PAGE.read_text(encoding="utf-8")
    version = re.search(r"^transformers (\S+):", text, re.MULTILINE)
    assert version
    verdicts = {}
    for verdict, (title, _) in SECTIONS.items():
        rows = text.split(f"\n## {title}\n")[1].split("\n## ")[0]
        verdicts |= dict.fromkeys(re.findall(r"`(\w+)`", rows), verdict)
    return version[1], verdicts


def main(arguments: list[str]) -> None:
    found = sweep([name for name in arguments if name != "--write"])
    for name, one in found.items():
        print(f"{name:42} {one.verdict:10} {' '.join(one.why.split())[:230]}")
    print(Counter(one.verdict for one in found.values()))
    if "--write" in arguments:
        intro = PAGE.read_text(encoding="utf-8").split("\ntransformers ")[0]
        PAGE.write_text(f"{intro}\n{page(found)}", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
