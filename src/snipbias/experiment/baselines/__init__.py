"""Methods that find no neuron, and what neurons are compared with.

In: a model and drawn items. Out: something that can be switched on like an edit: a steering vector,
neurons held at their mean, a calibrated score.
"""
