"""Answers of a model with and without edits, and what they prove.

In: a model, held-out items, edits. Out: a row per item, instruction and method, with every option's
log-probability; from these metrics, intervals, verdicts and the `Comparison` that prints itself.
Knows nothing of how an edit was found, but for the templates that it must not be tested on.
"""
