"""Edits as servers run them, beside the same model with the edit hooked in (docs/serving.md).

python -m benchmarks.served MODEL EDIT EDIT --server llama.cpp --converters LLAMA_CPP_FOLDER
python -m benchmarks.served MODEL EDIT EDIT --server vllm

MODEL is a folder of a Llama-like checkpoint, EDIT a folder of an edit of it. Each server gets token
numbers, answers greedily, and gives the log-probability of each token that it chose.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import snipbias as sb
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.export.write import export
from snipbias.edits.provenance import ModelId
from snipbias.models.language_model import LanguageModel

TOKENS = 24


@dataclass(frozen=True)
class Answer:
    """Greedily chosen tokens and the log-probability of each."""

    tokens: list[int]
    logprobs: list[float]


# From a prompt's tokens and an adapter's place in the list (None: the base alone) to an answer.
Ask = Callable[[Sequence[int], "int | None"], Answer]


@contextmanager
def llama_cpp(model: Path, adapters: Sequence[Path] = (), threads: int = 1) -> Iterator[Ask]:
    """llama.cpp's own server (package xllamacpp); an adapter is switched on by the request."""
    # Its compiled part has names that no type checker sees.
    xllamacpp: Any = import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(model), 1024, 1
    params.warmup, params.verbosity, params.lora_init_without_apply = False, -1, True
    # By default keys, values and flash attention are in 16 bits, which moves log P by 4e-3.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), 0.0) for path in adapters]
    server = xllamacpp.Server(params)

    def ask(prompt: Sequence[int], adapter: int | None) -> Answer:
        body = {
            "prompt": list(prompt),
            "n_predict": TOKENS,
            "temperature": 0,
            "n_probs": 1,
            "cache_prompt": False,
            "lora": [] if adapter is None else [{"id": adapter, "scale": 1.0}],
        }
        request = urllib.request.Request(
            f"{server.listening_address}/completion",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as reply:
            chosen = json.load(reply)["completion_probabilities"]
        return Answer([t["id"] for t in chosen], [t["logprob"] for t in chosen])

    yield ask


@contextmanager
def vllm(model: Path, adapters: Sequence[Path] = (), rank: int = 16) -> Iterator[Ask]:
    """vLLM in float32; an adapter is named by the request."""
    import vllm  # type: ignore[import-not-found]
    from vllm.lora.request import LoRARequest  # type: ignore[import-not-found]

    engine = vllm.LLM(
        str(model),
        dtype="float32",
        max_model_len=1024,
        enforce_eager=True,
        enable_lora=bool(adapters),
        max_loras=max(1, len(adapters)),
        max_lora_rank=rank,
        enable_prefix_caching=False,
    )
    requests = [LoRARequest(path.name, i + 1, str(path)) for i, path in enumerate(adapters)]
    settings = vllm.SamplingParams(temperature=0, max_tokens=TOKENS, logprobs=0)

    def ask(prompt: Sequence[int], adapter: int | None) -> Answer:
        chosen = engine.generate(
            [{"prompt_token_ids": list(prompt)}],
            settings,
            use_tqdm=False,
            lora_request=None if adapter is None else requests[adapter],
        )[0].outputs[0]
        tokens = list(chosen.token_ids)
        logprobs = [at[token].logprob for at, token in zip(chosen.logprobs, tokens, strict=True)]
        return Answer(tokens, logprobs)

    yield ask


def against(
    lm: LanguageModel, edit: NeuronEdit | None, prompt: Sequence[int], answer: Answer
) -> tuple[int, float]:
    """How many tokens the hooked model would have chosen too, and the largest difference of log P.

    It reads the served answer, so that one other token does not end the comparison.
    """
    ids = torch.tensor([[*prompt, *answer.tokens[:-1]]])
    with torch.no_grad(), edit.applied(lm) if edit else nullcontext():
        logits = lm.model(ids).logits[0, len(prompt) - 1 :]
    logprobs = logits.float().log_softmax(-1)
    tokens = torch.tensor(answer.tokens)
    of_them = logprobs.gather(1, tokens[:, None])[:, 0]
    same = int((logprobs.argmax(1) == tokens).sum())
    return same, float((of_them - torch.tensor(answer.logprobs)).abs().max())


def dense(lm: LanguageModel, seed: int = 0) -> NeuronEdit:
    """A factor near 1 on every neuron, as a trained (IA)3-like edit has."""
    generator = torch.Generator().manual_seed(seed)
    factors = {
        site.name: dict(
            enumerate((1 + 0.1 * torch.randn(site.width, generator=generator)).tolist())
        )
        for site in lm.sites
    }
    return NeuronEdit(factors, ModelId.of(lm), label="dense")


def prompts(lm: LanguageModel, count: int) -> list[tuple[int, ...]]:
    """The beginnings of neutral passages, long enough for an answer to go on."""
    queries = (lm.text_query(text) for text in sb.passages())
    return [query.prompt[:48] for query in queries if query is not None][:count]


def line(
    lm: LanguageModel,
    name: str,
    edit: NeuronEdit | None,
    ask: Callable[[Sequence[int]], Answer],
    prompts: Sequence[Sequence[int]],
) -> None:
    """Ask all prompts and print one line of the table."""
    found = [(a, *against(lm, edit, p, a)) for p in prompts for a in [ask(p)]]
    tokens = sum(len(answer.tokens) for answer, *_ in found)
    same, worst = sum(same for _, same, _ in found), max(worst for *_, worst in found)
    print(f"{name:42} {same:4} of {tokens:4} tokens; log P differs by {worst:.1e}", flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Export the edits, serve them, and print how near they are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.served", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("edits", nargs="+", type=Path)
    parser.add_argument("--server", choices=("llama.cpp", "vllm"), default="llama.cpp")
    parser.add_argument("--converters", type=Path, help="the folder of llama.cpp's converters")
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args(argv)
    torch.set_num_threads(given.threads)
    lm = sb.load(str(given.model), dtype="float32")
    edits = [NeuronEdit.load(folder) for folder in given.edits]
    edits = [replace(edit, label=f"edit {i + 1}") for i, edit in enumerate(edits)]
    with tempfile.TemporaryDirectory() as folder:
        serve = _vllm if given.server == "vllm" else _llama_cpp
        serve(lm, edits, prompts(lm, given.prompts), Path(folder), given)


def _adapters(
    lm: LanguageModel, edits: Sequence[NeuronEdit], folder: Path, given: Any
) -> list[Path]:
    out = [folder / f"lora{i}" for i in range(len(edits))]
    for edit, place in zip(edits, out, strict=True):
        export(lm, edit, "lora", place, base=str(given.model.absolute()), one_rank=True)
    return out


def _vllm(
    lm: LanguageModel, edits: Sequence[NeuronEdit], asks: Any, folder: Path, given: Any
) -> None:
    adapters = _adapters(lm, edits, folder, given)
    with vllm(given.model, adapters, rank=32) as ask:
        line(lm, "base", None, lambda p: ask(p, None), asks)
        for i, edit in enumerate(edits):
            line(lm, f"LoRA by request, {edit.label}", edit, lambda p, i=i: ask(p, i), asks)


def _llama_cpp(
    lm: LanguageModel, edits: Sequence[NeuronEdit], asks: Any, folder: Path, given: Any
) -> None:
    def convert(script: str, place: Path, kind: str, *more: str) -> Path:
        out = place.with_name(f"{place.name}-{kind}.gguf")
        command = [sys.executable, str(given.converters / script), str(place), *more]
        command += ["--outtype", kind, "--outfile", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        return out

    adapters = [
        convert("convert_lora_to_gguf.py", place, "f32", "--base", str(given.model.absolute()))
        for place in _adapters(lm, edits, folder, given)
    ]
    link = folder / "base"
    link.symlink_to(given.model.absolute())
    for kind in ("f32", "q8_0"):
        file = convert("convert_hf_to_gguf.py", link, kind)
        with llama_cpp(file, adapters, given.threads) as ask:
            line(lm, f"{kind}: base", None, lambda p: ask(p, None), asks)
            for i, edit in enumerate(edits):
                name = f"{kind}: LoRA by request, {edit.label}"
                line(lm, name, edit, lambda p, i=i: ask(p, i), asks)
    for edit in (*edits, dense(lm)):
        place = folder / f"baked-{edit.label.replace(' ', '-')}"
        export(lm, edit, "checkpoint", place, check=False)
        for kind in ("f32", "q8_0"):
            with llama_cpp(convert("convert_hf_to_gguf.py", place, kind), (), given.threads) as ask:
                line(lm, f"{kind}: baked, {edit.label}", edit, lambda p: ask(p, None), asks)


if __name__ == "__main__":
    main()
