"""The model card of an edit.

In: an edit, the record of the run that found it, the figures of an evaluation. Out: a README.md
with the head that the hub reads. Nothing is computed anew; what is not known is said to be unknown.
"""
