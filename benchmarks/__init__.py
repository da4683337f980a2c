"""How long finding and evaluating take, and how much memory, against a floor or a peer.

`python -m benchmarks` runs it all; every figure is a ratio of two things measured in turns in one
run, so that what else the machine does falls on both.
"""
