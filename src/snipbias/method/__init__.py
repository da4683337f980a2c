"""The paper: how neurons are scored and found.

In: a model and a task. Out: `Scores`, one number per neuron, and the edit that prunes the top of
them. equations.py is Eq. 1-4 and the place to begin; attribute.py runs them over prompts, and
gradients.py takes h and dlogP/dh in one pass. margins.py and activations.py score in other ways;
recipes.py names them all; find.py is the one call. Proves nothing: that is `evaluation`.
"""
