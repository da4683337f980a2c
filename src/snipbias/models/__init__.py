"""A Hugging Face transformer of either kind, wrapped once.

In: a name, a folder or a model in memory. Out: `LanguageModel`, its sites (linear layers whose
outputs are the neurons) and the log-probabilities of options, in batches that fit into memory.
Everything that depends on encoder-decoder or decoder-only is here.
"""
