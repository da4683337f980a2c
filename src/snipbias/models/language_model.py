"""A model with its tokenizer: prompting, scoring and generating."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import GenerationConfig, PreTrainedTokenizerBase

from snipbias.base.errors import SnipbiasError
from snipbias.models import scoring, token_tree
from snipbias.models.backbone import Backbone, Query, longrope_switch
from snipbias.models.chat import ChatTemplate
from snipbias.models.padding import pad
from snipbias.models.scoring import Scored
from snipbias.models.sites import Site

# MPT calls it max_seq_len; LED has one per side.
_CONTEXT_LENGTHS = ("max_position_embeddings", "max_seq_len")
_CONTEXT_LENGTHS += ("max_encoder_position_embeddings", "max_decoder_position_embeddings")


@dataclass(repr=False)
class LanguageModel(Backbone):
    """A Hugging Face model and its tokenizer; every change made here is undone.

    Attributes:
        tokenizer: its tokenizer.
        name: what the user called it.
        chat: whether prompts go through the tokenizer's chat template.
        revision: the hub's commit or the file's hash, if there is one.
    """

    tokenizer: PreTrainedTokenizerBase
    name: str = "in-memory model"
    chat: bool = False
    revision: str | None = None

    def __repr__(self) -> str:
        return f"<LanguageModel {self.name}: {sum(site.width for site in self.sites):,} neurons>"

    # -- prompting ---------------------------------------------------------------------------

    def query(self, prompt: str, options: Sequence[str]) -> Query:
        """Tokenize a prompt and its options as the model reads and writes them.

        Raises:
            SnipbiasError: it does not fit into the model's context.
        """
        return self.queries([(prompt, options)])[0]

    def queries(self, asked: Sequence[tuple[str, Sequence[str]]]) -> list[Query]:
        """`query` of several prompts with their options, in few calls of the tokenizer.

        Raises:
            SnipbiasError: one cannot be read by the model; the message says why.
        """
        if single := next((options for _, options in asked if isinstance(options, str)), None):
            raise SnipbiasError(f"the options are one text, {single[:60]!r}: give a list of texts.")
        tokenize = self._encode_both if self.is_encoder_decoder else self._encode_whole
        made = tokenize([self.prompt_text(prompt) for prompt, _ in asked], [o for _, o in asked])
        for (prompt, options), query in zip(asked, made, strict=True):
            self._refuse(prompt, options, query)
        return made

    def _refuse(self, prompt: str, options: Sequence[str], query: Query) -> None:
        """Refuse a query that the model cannot read."""
        if self.is_encoder_decoder:
            longest = max(map(len, (query.prompt, *query.options)))
        else:
            # An answer's last token is predicted but never read.
            longest = len(query.prompt) + max(map(len, query.options), default=1) - 1
        if self.context_length is not None and longest > self.context_length:
            raise SnipbiasError(
                f"a prompt of {longest} tokens does not fit into {self.name}'s context of "
                f"{self.context_length}: shorten it, or use a model with a longer context "
                f"(it begins {prompt[:60]!r})."
            )
        start = f"the tokenizer of {self.name}"
        if not query.prompt:
            raise SnipbiasError(
                f"{start} turns the prompt {prompt[:60]!r} into no token: give it a text."
            )
        if not all(query.options):
            raise SnipbiasError(
                f"{start} turns an option of {list(options)} into no token: give it another text."
            )
        if len(query.options) > 1 and len(set(query.options)) == 1:
            raise SnipbiasError(
                f"{start} turns all the options {list(options)} into the same tokens: use another "
                "model."
            )
        known = self.model.get_input_embeddings().weight.shape[0]  # type: ignore[index]
        highest = max(map(max, (query.prompt, *query.options)))
        if highest >= known:
            token = self.tokenizer.convert_ids_to_tokens(highest)
            raise SnipbiasError(
                f"{start} gives {token!r} the number {highest}, but the model has {known} "
                "embeddings: use its own tokenizer, or resize_token_embeddings."
            )

    @cached_property
    def context_length(self) -> int | None:
        """The longest context in tokens; None if positions are relative and unlimited."""
        config = self.model.config.get_text_config()
        if getattr(config, "relative_attention_num_buckets", None) is not None:
            return None
        limits = [longrope_switch(config), *(getattr(config, n, None) for n in _CONTEXT_LENGTHS)]
        return min((n for n in limits if isinstance(n, int) and n > 0), default=None)

    def prompt_text(self, prompt: str) -> str:
        """The prompt as the tokenizer gets it: inside the chat template if it is on."""
        return self.chat_template.prompt(prompt) if self.chat else prompt

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The tokenizer's chat template, tried when it is first needed."""
        return ChatTemplate.of(self.tokenizer, self.name)

    def length(self, text: str) -> int:
        """Number of tokens of a text in the middle of others."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]

    def _encode(self, texts: list[str], **how: Any) -> list[list[int]]:
        # A chat template writes special tokens itself; adding them again would change the prompt.
        how = how or {"add_special_tokens": not self.chat}
        return self.tokenizer(texts, **how)["input_ids"] if texts else []  # type: ignore[return-value]

    def _encode_open(self, texts: list[str]) -> list[list[int]]:
        """Encode without the end token that some tokenizers append, since more text follows."""
        end, last = str(self.tokenizer.eos_token), self.tokenizer.eos_token_id
        return [
            ids[:-1] if ids[1:] and ids[-1] == last and not text.endswith(end) else ids
            for text, ids in zip(texts, self._encode(texts), strict=True)
        ]

    def _encode_both(self, prompts: list[str], options: list[Sequence[str]]) -> list[Query]:
        """Prompts as an encoder reads them, and options as its decoder writes them."""
        end: Any = self.model.config.get_text_config().eos_token_id
        end = end[0] if isinstance(end, list) else end
        end = self.tokenizer.eos_token_id if end is None else end
        texts = list({option: None for several in options for option in several})
        encoded: Any = self.tokenizer(text_target=texts)["input_ids"] if texts else []
        ends = [] if end is None else [end]
        closed = (tuple(ids if ids[-1:] == ends else [*ids, *ends]) for ids in encoded)
        answers = dict(zip(texts, closed, strict=True))
        return [
            Query(tuple(ids), tuple(answers[option] for option in several))
            for ids, several in zip(self._encode(prompts), options, strict=True)
        ]

    def _encode_whole(self, prompts: list[str], options: list[Sequence[str]]) -> list[Query]:
        """Prompts, and what each option adds to its prompt."""
        gap = self.chat_template.gap if self.chat else " "
        pairs = zip(prompts, options, strict=True)
        texts = [prompt + gap + option for prompt, several in pairs for option in several]
        wholes = iter(self._encode_open(texts))
        made = []
        for prefix, several in zip(self._encode_open(prompts), options, strict=True):
            answers = []
            for option in several:
                whole = next(wholes)
                if whole[: len(prefix)] != prefix:
                    # The tokenizer merges across the boundary; use the option's own.
                    (own,) = self._encode([gap + option], add_special_tokens=False)
                    whole = prefix + own
                answers.append(tuple(whole[len(prefix) :]))
            made.append(Query(tuple(prefix), tuple(answers)))
        return made

    # -- passes ------------------------------------------------------------------------------

    def score(
        self, queries: Sequence[Query], *, share_start: bool = False, cut: bool = False
    ) -> Scored:
        """Log-probability of every option of every query; each prompt is encoded once.

        Differentiable if gradients are on. The result does not depend on the batch.

        Args:
            queries: tokenized prompts and options.
            share_start: encode the common beginning of all prompts once, if the model allows it.
                Only for scores, since hooks cannot tell rows apart there.
            cut: cut the graph between prompts and options, for `SiteGradients`.
        """
        self.passes["forward"] += len(queries)
        return scoring.score(self, queries, share_start=share_start, cut=cut)

    def alike(self) -> Callable[[Query], tuple[Any, ...]]:
        """Sort key that puts queries with the same start and length next to each other."""
        return token_tree.alike(self)

    def generate(self, queries: Sequence[Query]) -> list[str]:
        """Greedy continuation of each prompt, up to slightly longer than its longest option."""
        limits = [max(map(len, query.options)) + 8 for query in queries]
        texts = self.tokenizer.batch_decode(self.written(queries, limits), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def written(self, queries: Sequence[Query], limits: Sequence[int]) -> list[list[int]]:
        """Tokens of the greedy continuation of each prompt, up to its end token or limit.

        Args:
            queries: the prompts.
            limits: the most tokens per row, so that a row does not depend on the rest of the batch.
        """
        side = "right" if self.is_encoder_decoder else "left"
        ids, mask = pad([query.prompt for query in queries], self.device, side)
        filler = self.tokenizer.pad_token_id
        # A checkpoint's own settings (repetition penalty, minimum length) are not greedy.
        settings = GenerationConfig(
            max_new_tokens=max(limits),
            do_sample=False,
            num_beams=1,
            eos_token_id=self.model.generation_config.eos_token_id,  # type: ignore[union-attr]
            pad_token_id=self.tokenizer.eos_token_id if filler is None else filler,
            decoder_start_token_id=self.start_token if self.is_encoder_decoder else None,
        )
        # Replaced, not passed: transformers fills gaps in what is passed from the checkpoint's.
        own, self.model.generation_config = self.model.generation_config, settings
        try:
            with self.rows_of(torch.arange(len(queries))):
                written = self.model.generate(input_ids=ids, attention_mask=mask.long())  # type: ignore[operator]
        finally:
            self.model.generation_config = own
        skip = 1 if self.is_encoder_decoder else ids.shape[1]
        ends = settings.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        answers = []
        for row, limit in zip(written[:, skip:].tolist(), limits, strict=True):
            end = next((place for place, token in enumerate(row) if token in ends), limit)
            answers.append(row[: min(limit, end + 1)])
        self.passes["forward"] += sum(map(len, answers))
        return answers

    def text_logprobs(self, text: str) -> tuple[Float[Tensor, "t v"], Int[Tensor, " t"]]:
        """Next-token log-probabilities over a plain text, in float32, and the actual tokens.

        An encoder-decoder reads the first half of the words and predicts the second; a decoder-only
        model predicts every token after the first. A text longer than the context is cut; one that
        is too short to predict anything gives no token.
        """
        query = self.text_query(text, None if self.is_encoder_decoder else 1)
        if query is None:
            return torch.empty(0, 0), torch.empty(0, dtype=torch.long)
        return self.answer_logprobs(query)

    def answer_logprobs(self, query: Query) -> tuple[Float[Tensor, "t v"], Int[Tensor, " t"]]:
        """Next-token log-probabilities along a query's first option, in float32, and its tokens."""
        self.passes["forward"] += 1
        targets = torch.tensor([query.options[0]], device=self.device)
        prompt = torch.tensor([query.prompt], device=self.device)
        if self.is_encoder_decoder:
            read = torch.tensor([[self.start_token, *query.options[0][:-1]]], device=self.device)
            logits = self.model(input_ids=prompt, decoder_input_ids=read).logits
        else:
            whole = torch.cat([prompt, targets[:, :-1]], 1)
            logits = self.model(input_ids=whole).logits[:, prompt.shape[1] - 1 :]
        return logits[0].float().log_softmax(-1), targets[0]

    def request(self, text: str, room: int) -> Query:
        """A request without options, cut so that the context has room for `room` more tokens."""
        limit = self.context_length and max(1, self.context_length - room)
        encode = self._encode if self.is_encoder_decoder else self._encode_open
        (ids,) = encode([self.prompt_text(text)])
        return Query(tuple(ids[:limit]), ())

    def text_query(self, text: str, first: int | None = None) -> Query | None:
        """A plain text as a query: its first half is the prompt, its second half the only option.

        An encoder-decoder's halves are of words, each closed with its end token; a decoder-only
        model's are of tokens, where the prompt may have only the `first` ones. None if the text is
        too short.
        """
        limit = self.context_length
        if self.is_encoder_decoder:
            words = text.split()
            half = len(words) // 2
            prompt = self.prompt_text(" ".join(words[:half]))
            (query,) = self._encode_both([prompt], [[" ".join(words[half:])]])
            query = Query(query.prompt[:limit], (query.options[0][:limit],))
            return query if query.prompt else None
        ids = tuple(self.tokenizer(text)["input_ids"][:limit])  # type: ignore[arg-type]
        half = first or len(ids) // 2
        return Query(ids[:half], (ids[half:],)) if 0 < half < len(ids) else None


def sites(lm: LanguageModel) -> tuple[Site, ...]:
    """Every site of a loaded model: name, width, encoder or decoder side."""
    return lm.sites
