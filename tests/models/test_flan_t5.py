"""Flan-T5: what its architecture, tokenizer and number types need, on models of the same kind.

The tokenizer is transformers' own T5 class over a small unigram vocabulary; the models are T5 v1.1
(gated GELU, untied head): random ones, and the one that ships with the package.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import snipbias as sb
from families import tiny
from flan import END, PAD, UNKNOWN, flan_t5, sentencepiece_like
from snipbias.base.errors import SnipbiasError
from snipbias.models.language_model import LanguageModel
from snipbias.models.loading import load, wrap
from snipbias.tasks.items import Item, Task
from snipbias.tasks.prompts import DEFAULT

ITEM = Item("a", "Who did it?", ("The old man", "The boy", "Nobody can tell"), 2, "They met.", "t")
INSTRUCTION = "Answer the question."


def demo() -> LanguageModel:
    return sb.load("demo")


@torch.no_grad()
def teacher_forced(lm: LanguageModel, prompt: str, option: str) -> Tensor:
    """Log P(option and end token | prompt) from the loss that the model itself reports."""
    inputs = lm.tokenizer(prompt, return_tensors="pt")
    labels = torch.tensor([lm.tokenizer(text_target=option)["input_ids"]])
    if labels[0, -1] != END:
        labels = torch.cat([labels, torch.tensor([[END]])], dim=1)
    loss = lm.model(
        input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], labels=labels
    ).loss
    return -loss * labels.shape[1]


def test_the_prompt_is_what_the_encoder_reads_and_ends_once() -> None:
    """T5's tokenizer knows no line breaks: they are read as spaces, and no word is lost."""
    prompt = DEFAULT.render(INSTRUCTION, ITEM)
    query = flan_t5().query(prompt, ITEM.options)
    tokens = sentencepiece_like()
    assert "\n" in prompt
    assert UNKNOWN not in query.prompt
    assert query.prompt[-1] == END
    assert END not in query.prompt[:-1]
    assert tokens.decode(query.prompt[:-1]) == " ".join(prompt.split())
    for option, text in zip(query.options, ITEM.options, strict=True):
        assert option[-1] == END
        assert END not in option[:-1]
        assert PAD not in option
        assert tokens.decode(option[:-1]) == text


def test_no_chat_template_is_used() -> None:
    lm = flan_t5()
    assert not lm.chat
    assert lm.prompt_text("Answer.") == "Answer."


@pytest.mark.parametrize("make", [flan_t5, demo])
def test_option_scores_are_the_models_own_loss_on_labels(make) -> None:
    """All tokens of an option and its end token, by teacher forcing from the decoder's start."""
    lm = make()
    prompt = DEFAULT.render(INSTRUCTION, ITEM)
    with lm.frozen(), torch.no_grad():
        query = lm.query(prompt, ITEM.options)
        found = lm.score([query]).logprobs[0]
        padded = lm.score([lm.query(f"{prompt} {prompt}", ITEM.options), query]).logprobs[1]
    expected = torch.stack([teacher_forced(lm, prompt, option) for option in ITEM.options])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(padded, expected, atol=1e-4, rtol=1e-5)
    assert len({len(option) for option in query.options}) > 1


def test_the_untied_head_is_not_rescaled() -> None:
    """Tied T5 (v1.0) divides by the root of its width before the head; v1.1 must not."""
    lm = flan_t5()
    head = lm.model.lm_head.weight
    query = lm.query("The boy", ["it"])
    last: list[Tensor] = []
    norm = lm.model.decoder.final_layer_norm
    handle = norm.register_forward_hook(lambda module, args, output: last.append(output))
    with torch.no_grad():
        scored = lm.score([query]).logprobs[0, 0]
    handle.remove()
    steps = torch.cat([state[0] for state in last])  # the start token, then the option's first
    by_hand = (steps @ head.T).log_softmax(-1).gather(1, torch.tensor(query.options[0])[:, None])
    torch.testing.assert_close(scored, by_hand.sum(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("device_map", [None, {"": "cpu"}])
def test_a_saved_folder_prompts_and_scores_alike(device_map, tmp_path) -> None:
    """Its head is a matrix of its own there too."""
    lm = flan_t5()
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    again = load(tmp_path, device="cpu", device_map=device_map)
    assert type(again.tokenizer) is type(lm.tokenizer)
    query = lm.query(DEFAULT.render(INSTRUCTION, ITEM), ITEM.options)
    assert again.query(DEFAULT.render(INSTRUCTION, ITEM), ITEM.options) == query
    with torch.no_grad():
        torch.testing.assert_close(again.score([query]).logprobs, lm.score([query]).logprobs)
    assert torch.equal(again.model.lm_head.weight, lm.model.lm_head.weight)
    assert not torch.equal(again.model.lm_head.weight, again.model.shared.weight)


def test_what_it_writes_has_no_special_tokens() -> None:
    lm = flan_t5()
    with lm.frozen():
        texts = lm.generate([lm.query(DEFAULT.render(INSTRUCTION, ITEM), ITEM.options)])
    assert not any(mark in texts[0] for mark in ("<pad>", "</s>", "<extra_id"))


# -- number types ----------------------------------------------------------------------------------


def as_bfloat16(lm: LanguageModel) -> LanguageModel:
    return wrap(lm.model.to(torch.bfloat16), lm.tokenizer, name=lm.name)


def test_bfloat16_finds_mostly_the_neurons_that_float32_finds() -> None:
    """Of the fifty highest, on ten items under three instructions: 49 when this was written."""
    task = sb.task("mini:age").sample(10, 0)
    task = task.with_instructions(task.instructions[:3])
    exact = sb.attribute(demo(), task, sb.Method.v1())
    rough = sb.attribute(as_bfloat16(demo()), task, sb.Method.v1())
    assert all(sums.isfinite().all() for sums in rough.sums.values())
    shared = set(exact.top(50).neurons) & set(rough.top(50).neurons)
    assert len(shared) >= 45


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_beyond_float16_do_no_harm(dtype: torch.dtype) -> None:
    lm = flan_t5(scale=2000.0)
    lm = wrap(lm.model.to(dtype), lm.tokenizer)
    assert largest_ffn_activation(lm) > torch.finfo(torch.float16).max
    task = Task("one", (ITEM,), (INSTRUCTION,))
    with lm.frozen(), torch.no_grad():
        logprobs = lm.score([lm.query(DEFAULT.render(INSTRUCTION, ITEM), ITEM.options)]).logprobs
    assert logprobs.isfinite().all()
    scores = sb.attribute(lm, task, sb.Method.v1())
    assert all(sums.isfinite().all() for sums in scores.sums.values())


def test_why_float16_is_refused() -> None:
    """The same model's FFN is infinite in float16, and its scores are no numbers."""
    lm = flan_t5(scale=2000.0)
    lm.model.half()
    assert largest_ffn_activation(lm) == float("inf")
    with torch.no_grad():
        logprobs = lm.score([lm.query(DEFAULT.render(INSTRUCTION, ITEM), ITEM.options)]).logprobs
    assert not logprobs.isfinite().all()


@torch.no_grad()
def largest_ffn_activation(lm: LanguageModel) -> float:
    """What the second FFN layer reads: gelu(wi_0) * wi_1."""
    seen: list[float] = []
    outputs = [m for name, m in lm.model.named_modules() if name.endswith("DenseReluDense.wo")]
    handles = [
        module.register_forward_pre_hook(
            lambda module, args: seen.append(float(args[0].abs().max()))
        )
        for module in outputs
    ]
    lm.score([lm.query(DEFAULT.render(INSTRUCTION, ITEM), ITEM.options)])
    for handle in handles:
        handle.remove()
    return max(seen)


def test_float16_is_refused_wherever_it_comes_from(tmp_path) -> None:
    reason = r"T5 overflows in float16 \(its FFN outputs pass 65,504\): use bfloat16 or float32"
    half = flan_t5().model.half()
    with pytest.raises(SnipbiasError, match=reason):
        wrap(half, sentencepiece_like())
    with pytest.raises(SnipbiasError, match=reason):
        sb.wrap(tiny("mt5").model.half(), sentencepiece_like())
    half.save_pretrained(tmp_path)
    sentencepiece_like().save_pretrained(tmp_path)
    with pytest.raises(SnipbiasError, match=reason):
        load(tmp_path, dtype="float16", device="cpu")
    assert load(tmp_path, dtype="stored", device="cpu").model.dtype == torch.bfloat16
    assert load(tmp_path, device="cpu").model.dtype == torch.float32
    assert wrap(tiny("llama").model.half(), sentencepiece_like()).model.dtype == torch.float16
