"""The meaning of every column and mark of the tables, in one list for all views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snipbias.base.table import Grid
from snipbias.base.words import ALWAYS_UNKNOWN, BEST_OFFSET, RANDOM, SAME_LAYERS, control_kind

# Headers, or beginnings of names in the first column, separated by " / "; and their meaning.
TERMS = {
    "stereotyped": "percent of unanswerable rows in which the model names the stereotyped person "
    "(of all rows if the data has no conditions); ± is half the width of the 95 % interval",
    "accuracy / acc.": "percent of rows answered right (experiments: mean over trials); "
    "unanswerable rows of all kinds together count as much as the answerable ones. Table 1, ± "
    "instr. and McNemar's test use only the data's own rows, as the paper does",
    "ambig. / ambiguous": "the same on rows whose context does not tell who it was, so that "
    "'unknown' is right",
    "filler": "the same on ambiguous rows that neutral sentences make as long as their twins",
    "mismatch": "the same on the twins' contexts under a question that they do not answer",
    "kind": "kind of unanswerable rows: the data's own (plain), filler or mismatch",
    "disambig. / disambiguated": "the same on their twins, which tell who it was, so that this "
    "person is right",
    "dev acc.": "accuracy at the chosen settings on the rows they were chosen on",
    "95 % CI / CI of it / 95 %": "95 % interval: bootstrap over templates, and over instructions "
    "if there are five or more",
    "change": "from the original, on the same rows",
    "p": "two-sided p-value of the change, by exchanging whole templates (sign flip)",
    "p Holm": "the same, adjusted for every task and method of the experiment",
    "McNemar": "a p-value that treats rows as independent, and so is too small",
    "± instr.": "standard deviation over instructions; not a sampling error",
    "± trials": "standard deviation over draws of the items that neurons were found on",
    "± draws": "standard deviation over draws of a random control within a trial",
    "n": "number of neurons pruned (experiments: mean over trials)",
    "unknown": "percent of rows answered 'unknown'",
    "right person": "percent of disambiguated rows where the right one of the named options "
    "scores higher; 50 is chance",
    "AUROC": "how well the margin of 'unknown' tells unanswerable from answerable rows; 0.5 is "
    "chance, and saying 'unknown' more often does not change it. A model that notices only the "
    "length has 1.00 on plain rows and 0.5 on the others",
    "twin AUROC": "share of these rows whose margin is larger than that of their own answerable "
    "twin",
    "vs offset": "points of disambiguated accuracy above (+) or below (-) what the original "
    "reaches, at the same accuracy on these unanswerable rows, by adding a constant to the score "
    "of 'unknown'; a gain must show on all three kinds",
    "s_AMB / s_DIS": "BBQ's bias scores; a dash where nobody was named",
    "P(gold)": "mean probability of the right option in percent, among the row's options",
    "P(gold) a": "the same on ambiguous rows",
    "P(gold) d": "the same on disambiguated rows",
    "positions": "percent of answers that are the first, second, ... option; last, no option",
    "perplexity": "on neutral text; experiments: geometric mean over trials",
    "KL": "divergence from the original's predictions of neutral text, in nats per token",
    "chat KL": "the same along the original's own answers to ordinary requests",
    "skills / mini:skills": "accuracy on a task that should not get worse",
    "published / (Flan-T5-base)": "figures of CRISPR v1 (arXiv 2311.09627v1) or v2 (ACL 2024) on "
    "this model; in brackets, on Flan-T5-base, for orientation",
    "prompt template": "edits found in the task's own wording, evaluated in others; the interval "
    "of the mean takes these wordings as fixed",
    "bias": "stereotyped minus the share in which the other person is named (BBQ's s_AMB, as a "
    "share)",
    "same place, names / unknown, names / answer, names": "the task's rows with people of no "
    "group: how often the one in the stereotyped person's place is named without a reason; right "
    "answers without and with the fact in the text",
    "evidence with / evidence against / overridden": "right answers where the text agrees with "
    "the stereotype, and where it contradicts it; answers by the stereotype although the text "
    "contradicts it",
    "unknown, others / answer, others": "right answers without and with the fact in the text, in "
    "the data's other categories",
    "groups differ": "right answers to questions such as who is older, which the words tell",
    "read to make / differentiated": "prompts read, and objectives whose gradient was taken, to "
    "find neurons and to choose the setting on dev, mean over trials; a token that the model "
    "writes counts as a prompt",
    "trained": "how many numbers the method learns",
    "read an answer": "prompts and written tokens for one answer, 1 for the original",
    "kept": "whether retention and neutral text stay within the margin, by their intervals; ?: "
    "unknown",
    ALWAYS_UNKNOWN: "answering every row with 'unknown'",
    BEST_OFFSET: "the best accuracy that a constant added to the score of 'unknown' reaches",
    f"{RANDOM} / {SAME_LAYERS}": "controls: as many neurons drawn by chance, from the whole model "
    "or from the layers of that edit",
    "!": "something is wrong with this model; the lines beside the table say what",
}


def explained(grids: Iterable[Grid]) -> Iterator[tuple[str, str]]:
    """Pairs (names, meaning) for the columns and marks of these tables."""
    names: dict[str, None] = {}
    for grid in grids:
        first = [row[0] for row in grid.rows]
        names |= dict.fromkeys((*grid.header, *first, *map(control_kind, first)))
    marked = any(name.endswith(" !") for name in names)
    for columns, meaning in TERMS.items():
        there = [
            c
            for c in columns.split(" / ")
            if (c == "!" and marked) or any(f"{name} ".startswith(f"{c} ") for name in names)
        ]
        if there:
            yield " / ".join(there), meaning


def legend(grids: Iterable[Grid]) -> str:
    """The same as one paragraph."""
    return "; ".join(f"{names}: {meaning}" for names, meaning in explained(grids)) + "."


def legend_markdown(grids: Iterable[Grid]) -> str:
    """The same as a list."""
    return "\n".join(f"- **{names}**: {meaning}" for names, meaning in explained(grids))
