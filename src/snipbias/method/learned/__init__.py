"""Learned neuron scaling: one factor per neuron, trained with a pair loss, all weights frozen.

In: a model and a task with rows in both conditions. Out: a `NeuronEdit`.
`objective.py` holds the losses: read it first. `factors.py` puts the factors into the model,
`rows.py` makes the rows of a step, `anchors.py` the texts on which nothing may change, `train.py`
is the loop, and `learn.py` the one call.
"""
