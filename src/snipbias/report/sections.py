"""The section of one task, whichever run measured it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from snipbias.base.files import slug
from snipbias.base.plot import Plot
from snipbias.base.table import Grid
from snipbias.base.words import ORIGINAL
from snipbias.edits.edit import NeuronEdit
from snipbias.evaluation.apart import gained
from snipbias.evaluation.measured import Measured
from snipbias.evaluation.metrics import accuracy_by_instruction
from snipbias.evaluation.rows import Rows
from snipbias.evaluation.tradeoff import Spot, tradeoff
from snipbias.evaluation.verdicts import alarms, doubts, forewarned
from snipbias.experiment.outcome import neurons_of
from snipbias.models.place_map import neuron_map
from snipbias.models.places import count_places
from snipbias.models.sites import Site
from snipbias.report.examples import changed_examples, in_turn
from snipbias.report.first_screen import case, lines, shift_grid
from snipbias.report.page import Finding, Section
from snipbias.report.size_curve import spread
from snipbias.report.texts import Texts


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
    return Section(
        name=slug(task),
        title=task,
        findings=findings,
        lines=lines(found, kinds, {each.label: each.tag for each in findings}),
        kept=next(iter(found[ORIGINAL].trials[0].retention), ""),
        case=case(tables, texts),
        grids=(*grids, shift_grid({name: found[name].rows for name in kinds}), *more),
        examples=tuple(
            in_turn(
                changed_examples(tables[original], tables[name], name, texts, letters=letters)
                for name in edited
            )
        ),
        notes=(*notes, *([texts.missing] if texts.missing else [])),
        warning=forewarned(task, found[ORIGINAL].verdicts),
        **rest,
    )


def finding(
    found: Measured,
    rivals: Sequence[tuple[str, float | None]],
    kept: Sequence[tuple[bool, str, str]],
    said: Sequence[str],
) -> Finding:
    """The effect of one edit, or of a method in all its trials.

    Args:
        rivals: what to hold its accuracy against, by name.
        kept: whether something was shown to be kept, what, and the sentence on it.
        said: sentences on the stereotype, where that is known, and on a gain.
    """
    assert found.before is not None
    named = [
        (str(verdict) if trial is None else f"trial {trial}: {verdict}", verdict)
        for trial, verdicts in found.by_trial.items()
        for verdict in verdicts
    ]
    first = int(found.change("stereotyped").interval is not None)
    sure, may = alarms(found.verdicts), doubts(found.verdicts)
    return Finding(
        task=found.task,
        label=found.method,
        size=found.pruned,
        before=found.before.value("overall").value,
        after=found.value("overall").value,
        change=found.change("overall").interval,
        rivals=tuple(rivals),
        gain=found.gain.interval,
        shifted=any(verdict.kind == "shift" for verdict in sure),
        alarms=tuple(text for text, v in named if v in sure and v.kind != "shift"),
        doubts=tuple(text for text, v in named if v in may and v.kind != "shift"),
        kept=tuple(kept),
        p_value=found.sign_flip("overall"),
        named="".join(said[:first]),
        said=tuple(said[first:]),
        gained=gained(found.apart),
    )


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
    by_instruction = {n: accuracy_by_instruction(r) for n, r in runs.items()}
    before = {ORIGINAL: accuracy_by_instruction(original.rows)}
    made = (
        tradeoff(place, spots, original.summary.offset_curve),
        sizes,
        spread(place, {**before, **by_instruction}, list(runs)),
    )
    return [plot for plot in made if plot is not None]


def maps(
    sites: Sequence[Site], place: str, edits: Mapping[str, Sequence[NeuronEdit | None]]
) -> list[Plot]:
    """Where the neurons of each edit sit.

    Args:
        sites: the model's sites.
        place: prefix of the plots' names in the page.
        edits: name -> the edit of each trial, over which the map averages.
    """
    group = f"{place}-map"
    return [
        neuron_map(
            count_places(sites, neurons_of(found)),
            "Where the changed neurons sit",
            place=f"{group}{number}",
            group=group,
            choice=name,
        )
        for number, (name, found) in enumerate(edits.items())
    ]
