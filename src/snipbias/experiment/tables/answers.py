"""The first screen of an experiment: a small table per task, what the method changed and cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.text import Text

from snipbias.base.words import ORIGINAL, RANDOM, held_out, plural
from snipbias.evaluation import measures
from snipbias.evaluation.answer import FIRST, MEANS, bar, costs, headed, in_turn, judged, lines
from snipbias.evaluation.estimate import average
from snipbias.evaluation.measured import Measured
from snipbias.experiment.outcome import Experiment
from snipbias.experiment.settings import CONTROLS, SCORES_ALONE
from snipbias.tasks.unanswerable import UNANSWERABLE

ROWS = 12  # methods shown, all tasks together
BAR = 7
PLAIN = (*CONTROLS, *SCORES_ALONE)
AUROC = "AUROC: plain, filler, mismatch"
VERDICT = "verdict\n(?: too few\nrows)"
LEGEND = (
    ("AUROC", Text("tells unanswerable rows from answerable ones; 0.50 is chance", "dim")),
    MEANS,
)


def answers(experiment: Experiment) -> RenderableType:
    """Some twenty-five lines of eighty letters, for up to three tasks."""
    own, margin = experiment.settings.method, experiment.settings.margin
    originals = [found[ORIGINAL] for found in experiment.measured.values()]
    known = {name: [average(of, o.rows) for o in originals] for name, of in FIRST.items()}
    drawn = {name: of for name, of in FIRST.items() if set(known[name]) != {None}}
    more = (AUROC, VERDICT) if any(o.apart for o in originals) else (VERDICT,)
    most = max(3, ROWS // len(experiment.tasks))
    tables, said = [], []
    for task in experiment.tasks:
        found = experiment.measured[task.name]
        cost = costs(found[own], margin, {})
        asked = held_out(task.items["test"], task.templates["test"], len(task.instructions))
        trials = plural(found[own].number, "trial")
        table = headed(drawn, *more, width=BAR)
        table.show_header = False
        tables += [Text.assemble((task.name, "bold"), f": {asked}, {trials}"), table]
        for name in shown(found, own, most):
            values = (average(of, found[name].rows) for of in drawn.values())
            cells: list[RenderableType] = [bar(v, is_edit=name == own, width=BAR) for v in values]
            cells += [_told_apart(found[name])] if AUROC in more else []
            row = (escape(_named(found[name], own)), *cells, judged(found[name])[0])
            table.add_row(*row, style="bold" if name == own else "")
        if len(experiment.tasks) == 1:
            said += in_turn(found[own], cost)
        elif cost:
            said.append(("cost", Text(f"{own} on {task.name}: {cost[0]}")))
    said += LEGEND if AUROC in more else ()
    ran = plural(len(experiment.methods), "method")
    corner = f"{most} of {ran}" if most < len(experiment.methods) else ran
    head = headed(drawn, *more, corner=corner, width=BAR)
    return Group(head, *tables, Text(), lines(said))


def _named(found: Measured, own: str) -> str:
    if found.method == own and found.sizes:
        return f"{own}, n={found.pruned}"
    return RANDOM if found.method == "random" else found.method


def shown(found: Mapping[str, Measured], own: str, most: int) -> Iterable[str]:
    """The original, the method itself, the most accurate rivals, and random neurons.

    Constants on the answers and random controls come after the rivals that change the model.

    Args:
        found: method -> figures.
        own: the method itself.
        most: how many methods at most.
    """
    first = [name for name in (ORIGINAL, own) if name in found]
    last = [name for name in ("random",) if name in found and name != own]
    others = sorted(
        (name for name in found if name not in (*first, *last)),
        key=lambda name: (name in PLAIN, -(average(measures.ACCURACY, found[name].rows) or 0.0)),
    )
    return (*first, *others[: most - len(first) - len(last)], *last)


def _told_apart(found: Measured) -> str:
    aurocs = [found.apart[kind].auroc.value for kind in UNANSWERABLE if kind in found.apart]
    return " ".join("-" if value is None else f"{value:.2f}" for value in aurocs)
