"""From outcomes to figures, from figures to tables.

In: an `Experiment`. Out: `Figures` per method and task, with intervals; grids for reading, CSV for
other programs, verdicts; beside them what the papers published.
"""
