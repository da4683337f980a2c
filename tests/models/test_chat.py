"""Chat templates of every style: used as they mean it, or refused in one sentence."""

from __future__ import annotations

import warnings

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as tokenizer_models
from transformers import PreTrainedTokenizerFast

from families import tiny
from snipbias import SnipbiasError
from snipbias.models import chat
from snipbias.models.chat import ChatTemplate
from snipbias.models.language_model import LanguageModel

USERS = "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}\n{% else %}"
ENDS = "{% endif %}{% endfor %}"
ASKS = "{% if add_generation_prompt %}A:{% endif %}"


def model(template: str | dict[str, str] | None) -> LanguageModel:
    """A tiny model whose tokenizer knows single bytes, with spaces in front of words."""
    backend = Tokenizer(tokenizer_models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    backend.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    backend.add_tokens(pre_tokenizers.ByteLevel.alphabet())
    own = PreTrainedTokenizerFast(tokenizer_object=backend)
    own.chat_template = template
    return LanguageModel(tiny("llama").model, own, name="toy", chat=True)


def test_what_stands_before_an_answer_is_what_the_template_writes_there() -> None:
    for template, prompt, gap in (
        (f"{USERS}A:{{{{ m.content }}}}{ENDS}{ASKS}", "Q: who?\nA:", ""),
        (f"{USERS}A: {{{{ m.content }}}}{ENDS}{ASKS}", "Q: who?\nA:", " "),
        (f"{USERS}A: {{{{ m.content }}}}{ENDS}", "Q: who?\nA:", " "),  # asks for no answer
        (f"{USERS}A: {{{{ m.content }}}}{ENDS}{ASKS.replace('A:', 'A: ')}", "Q: who?\nA:", " "),
        (f"{USERS}A:\n{{{{ m.content }}}}{ENDS}", "Q: who?\nA:\n", ""),
        (f"{USERS}<think></think>{{{{ m.content }}}}{ENDS}<think>", "Q: who?\n<think></think>", ""),
        ("{% for m in messages %}{{ m.content[0].text }};{% endfor %}", "who?;", ""),
        ({"default": f"{USERS}{ENDS}{ASKS}", "tools": "no"}, "Q: who?\nA:", ""),
    ):
        lm = model(template)
        assert lm.prompt_text("who?") == prompt, template
        assert lm.chat_template.gap == gap, template


@pytest.mark.skipif(not hasattr(chat.os, "fork"), reason="bounds need fork")
def test_templates_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "SECONDS", 2)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    for template, words in (
        ("{% for %}", "cannot be used"),
        ("{{ raise_exception('a system message is needed') }}", "a system message is needed"),
        ("{{ nothing.of.it }}", "undefined"),
        ("You are helpful.", "drops the question"),
        (f"{USERS}{ENDS}A: <think>\n", "write a thought"),
        (f"{USERS}{ENDS}[THINK]", "write a thought"),
        (f"{USERS}{ENDS}<|channel|>analysis<|message|>", "write a thought"),
        (loop, "more than 2 seconds"),
        ("{{ 'a' * 10**10 }}", "MB"),
        ("{{ messages[0].content * 10**5 }}", "characters"),
        ({"tools": "x", "rag": "y"}, "'tools', 'rag'"),
        ("{{ range(1000)|random }}" + USERS + ENDS, "at random"),
    ):
        with pytest.raises(SnipbiasError) as refused:
            model(template).prompt_text("who?")
        assert words in str(refused.value), template
        assert len(str(refused.value)) < 400


def test_a_question_that_the_template_drops_is_refused() -> None:
    lm = model("{{ messages[0].content if 'Ann' in messages[0].content }}")
    with pytest.raises(SnipbiasError, match=r"drops the question 'who\?'"):
        lm.prompt_text("who?")


def test_a_template_that_writes_the_date_is_told_of() -> None:
    with pytest.warns(UserWarning, match="today's date"):
        ChatTemplate.of(model(USERS + ENDS + "{{ strftime_now('%d %b %Y') }}").tokenizer, "toy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ChatTemplate.of(model(USERS + ENDS + "{# strftime_now #}").tokenizer, "toy")


def test_a_template_that_fails_on_one_question_is_refused_then() -> None:
    fails = "{% if 'Zoe' in messages[0].content %}{{ raise_exception('no Zoe') }}{% endif %}"
    lm = model(fails + USERS + ENDS)
    assert lm.prompt_text("who?").startswith("Q: who?")
    with pytest.raises(SnipbiasError, match="no Zoe"):
        lm.prompt_text("who is Zoe?")


def test_without_processes_to_fork_a_template_is_tried_here(monkeypatch) -> None:
    expected = model(USERS + ENDS + ASKS).prompt_text("who?")
    monkeypatch.delattr(chat.os, "fork")
    assert model(USERS + ENDS + ASKS).prompt_text("who?") == expected
    with pytest.raises(SnipbiasError, match="drops the question"):
        model("You are helpful.").prompt_text("who?")
