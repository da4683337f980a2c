"""From the figures of an experiment to tables and words.

In: an `Experiment`, whose figures are computed. Out: grids for reading, CSV for other programs,
verdicts in words; next to them the published figures.
"""
