"""The model card of an edit.

In: an edit, the record of the run that found it, the figures of an evaluation. Out: a README.md
with the metadata that the hub reads. Nothing is computed here; what is not known is "unknown".
"""
