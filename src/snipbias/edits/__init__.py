"""Which neurons are scaled by what.

In: neurons and factors, or a folder or repository with an edit. Out: `NeuronEdit`, which is
applied by hooks, baked into weights, undone, combined and compared with others, saved and shared.
`EditRecord` is its data alone; `card` describes it, and `export` writes it for other software.
"""
