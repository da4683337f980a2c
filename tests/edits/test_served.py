"""Edits in llama.cpp itself: a baked file, and LoRA adapters by request on one base."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.served import against, llama_cpp
from gguf_file import wide_llama, write_gguf, write_lora_gguf
from snipbias.edits.controls import random_edit
from snipbias.edits.export.write import export
from snipbias.models.loading import load

pytest.importorskip("xllamacpp", reason="the wheel of llama.cpp is not installed")
PROMPTS = ([5, 6, 7, 8], [40, 9, 31, 22, 17, 60])


@pytest.mark.slow
def test_llama_cpp_runs_edits_by_request_and_baked(tmp_path: Path):
    """Its tokens are the hooked model's, and their log-probabilities within 1e-3."""
    lm = wide_llama()
    edits = [random_edit(lm, 40, seed=seed) for seed in (0, 1)]
    write_gguf(tmp_path / "base.gguf", lm)
    adapters = []
    for i, edit in enumerate(edits):
        export(lm, edit, "lora", tmp_path / f"lora{i}", one_rank=True, base="tiny/llama")
        adapters.append(tmp_path / f"lora{i}.gguf")
        write_lora_gguf(adapters[-1], lm, tmp_path / f"lora{i}")
    with llama_cpp(tmp_path / "base.gguf", adapters) as ask:
        served = [(edits[i] if i in (0, 1) else None, ask, i) for i in (None, 0, 1)]
        for edit, _, adapter in served:
            for prompt in PROMPTS:
                answer = ask(prompt, adapter)
                same, difference = against(lm, edit, prompt, answer)
                assert same == len(answer.tokens)
                assert difference < 1e-3
                if edit:  # the base answers otherwise, so that an adapter left out would show
                    assert against(lm, None, prompt, answer)[1] > 0.01

    export(lm, edits[0], "checkpoint", tmp_path / "baked")
    write_gguf(tmp_path / "baked.gguf", load(tmp_path / "baked"))
    with llama_cpp(tmp_path / "baked.gguf") as ask:
        for prompt in PROMPTS:
            answer = ask(prompt, None)
            same, difference = against(lm, edits[0], prompt, answer)
            assert (same, difference < 1e-3) == (len(answer.tokens), True)
