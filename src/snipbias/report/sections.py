"""The section of one task, whichever run measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from snipbias.base.files import slug
from snipbias.base.plot import Plot
from snipbias.base.table import Grid, percent
from snipbias.base.words import ORIGINAL
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation import measures, metrics
from snipbias.evaluation.estimate import average, mean_of
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.evaluation.verdicts import forewarned
from snipbias.models.places import count_places, neuron_map
from snipbias.models.sites import Site
from snipbias.report.examples import case, changed_examples, in_turn
from snipbias.report.page import Finding, Line, Section
from snipbias.report.size_curve import spread
from snipbias.report.texts import Texts

GOLD = [measures.GOLD_PROBABILITY.of(condition) for condition in ("ambiguous", "disambiguated")]
PROBABILITIES = {
    "right": measures.GOLD_PROBABILITY,
    "stereotyped": measures.BIASED_PROBABILITY,
    "unknown": measures.UNKNOWN_PROBABILITY,
}
CONDITIONS = {"ambig.": "ambiguous", "disambig.": "disambiguated"}


def section(
    found: Mapping[str, Measured],
    kinds: Mapping[str, str],
    tables: Mapping[str, pa.Table],
    texts: Texts,
    *,
    grids: Sequence[Grid],
    more: Sequence[Grid] = (),
    notes: Sequence[str] = (),
    findings: tuple[Finding, ...],
    letters: bool = False,
    **rest: Any,
) -> Section:
    """The section of one task.

    Args:
        kinds: of the methods that it shows: "original", "edit", "control", "floor" or "rival".
        tables: rows of the original and of every edit (or trial) that examples are taken from.
        grids, more: tables before and after the one of probabilities.
        letters: whether the prompt listed the options as A, B, C.
        rest: other fields of the section.
    """
    original, *edited = tables
    task = found[ORIGINAL].task
    changed = (
        changed_examples(tables[original], tables[name], name, texts, letters=letters)
        for name in edited
    )
    return Section(
        name=slug(task),
        title=task,
        findings=findings,
        lines=lines(found, kinds, {each.found.method: each.tag for each in findings}),
        kept=next(iter(found[ORIGINAL].trials[0].retention), ""),
        case=case(tables, texts),
        grids=(*grids, shift_grid({name: found[name].rows for name in kinds}), *more),
        examples=tuple(in_turn(changed)),
        notes=(*notes, *([texts.missing] if texts.missing else [])),
        warning=forewarned(task, found[ORIGINAL].verdicts),
        **rest,
    )


def lines(
    methods: Mapping[str, Measured], kinds: Mapping[str, str], tags: Mapping[str, tuple[str, str]]
) -> tuple[Line, ...]:
    """The first screen's table, a line per method but for rivals; edits are numbered for colours.

    Args:
        kinds: of the methods that are shown.
        tags: tone and words of their findings.
    """
    edits = [name for name, kind in kinds.items() if kind == "edit"]
    task = next(iter(methods[ORIGINAL].trials[0].retention), "")
    return tuple(
        Line(
            name,
            kind,
            edits.index(name) if name in edits else -1,
            stereotyped=average(measures.NAMED_STEREOTYPED, methods[name].rows),
            answerable=average(measures.ANSWERABLE, methods[name].rows),
            kept=average(measures.ACCURACY, methods[name].kept(task)),
            gold=tuple(average(metric, methods[name].rows) for metric in GOLD),
            tag=tags.get(name, ("", "")),
        )
        for name, kind in kinds.items()
        if kind != "rival"
    )


def shift_grid(methods: Mapping[str, Sequence[Rows]]) -> Grid:
    """Mean probability of the right option (the paper's Table 2) and of the other two kinds."""
    rows = []
    for name, runs in methods.items():
        cells = [name]
        for metric in PROBABILITIES.values():
            found = [metric.by_condition(each) for each in runs]
            means = (mean_of(getattr(each, part) for each in found) for part in CONDITIONS.values())
            cells += map(percent, means)
        rows.append(tuple(cells))
    header = ("method", *(f"{kind}, {short}" for kind in PROBABILITIES for short in CONDITIONS))
    title = "Mean probability of an option, of all options of its row (%)"
    return Grid(title, header, tuple(rows)).without_empty_columns()


def plots(
    found: Mapping[str, Measured],
    spots: Sequence[Spot],
    sizes: Plot | None,
    runs: Mapping[str, Rows],
) -> list[Plot]:
    """Shift or gain, accuracy by number of neurons, and accuracy under each instruction.

    Args:
        runs: rows of every edit (or trial).
    """
    original = found[ORIGINAL].trials[0]
    place = slug(found[ORIGINAL].task)
    rows = {ORIGINAL: original.rows, **runs}
    by_instruction = {name: metrics.accuracy_by_instruction(each) for name, each in rows.items()}
    shift = tradeoff(place, spots, original.summary.offset_curve)
    made = (shift, sizes, spread(place, by_instruction, list(runs)))
    return [plot for plot in made if plot is not None]


def maps(
    sites: Sequence[Site], place: str, edits: Mapping[str, Sequence[NeuronEdit | None]]
) -> list[Plot]:
    """Where the neurons of each edit sit.

    Args:
        place: prefix of the plots' names in the page.
        edits: name -> the edit of each trial, over which the map averages.
    """
    group, drawn = f"{place}-map", []
    for number, (name, found) in enumerate(edits.items()):
        counts = count_places(sites, [edit.neurons if edit else [] for edit in found])
        where = {"place": f"{group}{number}", "group": group, "choice": name}
        drawn.append(neuron_map(counts, "Where the changed neurons sit", **where))
    return drawn
