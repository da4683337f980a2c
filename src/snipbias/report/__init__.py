"""A folder of results -> one HTML file.

In: what `find`, `evaluate`, `reproduce` or `demo` wrote. Out: a page that needs no network, with
findings in words before tables and plots. No figure is computed that the folder does not give.
"""
