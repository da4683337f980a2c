"""The command line: one door, the other is `play`.

In: words of a user. Out: calls of the package, tables on the screen, folders with a record.
A command reads its options, calls one function and writes; whatever is worth knowing stands below.
"""

from snipbias.cli.app import main as main
