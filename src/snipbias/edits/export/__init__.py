"""An edit in forms that need none of this package when they run: LoRA, (IA)3, a checkpoint.

`sb.export` is `write.export`; how a GGUF file is made of the checkpoint is in docs/serving.md.
"""
