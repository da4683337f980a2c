"""The paper's tables: every method x task x trial.

In: a model, tasks and `Settings`. Out: `Results`, with every file of a folder that can be resumed.
A `Cell` is one method on one task in one trial; baselines hold what needs no neuron found; tables
make figures, grids and verdicts of the outcomes.
"""
