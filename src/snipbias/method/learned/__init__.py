"""Learned neuron scaling: one factor per neuron, trained by a pair loss, every weight frozen.

In: a model and a task whose rows come in both conditions. Out: a `NeuronEdit`.
`objective.py` holds the losses: read it first. `factors.py` puts what is trained into the model,
`rows.py` and `tree.py` make the rows of one step, `anchors.py` the texts that may not move,
`train.py` is the loop, and `learn.py` the one call.
"""
