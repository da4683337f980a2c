"""Text, tables, files, the record of a run, processes, the network.

In: values, paths, errors of other libraries. Out: the same words, tables, folders and messages
wherever the package writes any. Knows no model and no bias; imports nothing else of the package.
"""
