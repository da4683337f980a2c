"""Write an edit so that other software can load it.

In: a model and an edit. Out: a folder with a LoRA or IA3 adapter, or with the whole edited model,
which is compared with the hooked model before it gets its name.
"""
