"""The playground: a page in the browser on which edits are switched on and off.

In: a model, tasks, edits. Out: answers and activations with and without them, side by side.
session.py holds the model behind one lock; everything else draws.
"""
