"""An edit written so that other software loads it.

In: a model and an edit. Out: a folder with a LoRA or IA3 adapter, or with the whole model baked,
which was run against the hooked model before it got its name.
"""
