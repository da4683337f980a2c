"""What each column of a report means, in the words of docs/reading.md."""

from __future__ import annotations

TERMS: tuple[tuple[str, str], ...] = (
    (
        "ambiguous row",
        "asks who did something that the context does not tell; “unknown” is right",
    ),
    ("disambiguated row", "its twin that says who it was; that person is right"),
    (
        "accuracy, ambig., disambig., all",
        "percent of rows answered right, over all and by condition",
    ),
    (
        "95 % interval (CI, in brackets)",
        "where the figure may lie for other templates and, with five instructions or more, for "
        "other wordings; whole templates are drawn, since rows of one template are siblings",
    ),
    ("change, difference", "a figure less the original's on the same rows, with its own interval"),
    ("p", "two-sided p-value of the change, by exchanging whole templates (sign flip)"),
    ("p Holm", "the same, adjusted for every task and method of the experiment"),
    ("McNemar", "a p-value that takes rows for independent, and so is too small"),
    ("± instr.", "standard deviation over instructions; it is not a sampling error"),
    ("± (demo), ± trials", "standard deviation over draws of the items that neurons were found on"),
    ("± draws", "standard deviation over draws of a random control, inside a trial"),
    ("unknown", "percent of rows answered “unknown”"),
    (
        "named",
        "on disambiguated rows, percent in which the right one of the named options scores "
        "higher; 50 is chance where two are named",
    ),
    (
        "AUROC, discrimination",
        "how well the margin of “unknown” tells ambiguous from disambiguated rows; 0.5 is chance, "
        "and no shift changes it",
    ),
    (
        "vs offset, offset",
        "points of disambiguated accuracy above the best that one constant, added to the score of "
        "“unknown” on the original, reaches at an ambiguous accuracy at least as high",
    ),
    (
        "always unknown, best offset",
        "the floor, and the best overall accuracy that a constant reaches",
    ),
    (
        "random, same sites, layer-matched, #0",
        "as many neurons drawn by chance: anywhere; in the same layers; #0 is the first draw",
    ),
    ("s_AMB, s_DIS", "BBQ's bias scores; a dash where nobody was named"),
    (
        "P(gold), a, d",
        "mean probability of the right option in percent, renormalised over the row's options, "
        "over all, ambiguous and disambiguated rows",
    ),
    ("positions", "percent of answers that are the first, second, ... option; last, none of them"),
    (
        "perplexity, KL",
        "on neutral text: how badly the model predicts it, and how far its predictions are from "
        "the original's, in nats a token",
    ),
    ("skills, retention", "accuracy on a task that must not get worse"),
    (
        "kept, not worse by more than ...",
        "the whole interval is above the loss that counts as no harm; “may be worse” when part of "
        "it is not, which with few rows is the rule",
    ),
    ("!", "something is wrong with this model; the findings and notes say what"),
)
