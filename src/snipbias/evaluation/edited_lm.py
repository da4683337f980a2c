"""An edited model as a model of the lm-evaluation-harness, under the name `snipbias`."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from snipbias.base.errors import SnipbiasError
from snipbias.base.version import __version__
from snipbias.base.words import did_you_mean
from snipbias.edits.edit import NeuronEdit
from snipbias.edits.given import Intervention
from snipbias.edits.provenance import ModelId
from snipbias.evaluation.harness import library, quiet
from snipbias.models.language_model import LanguageModel
from snipbias.models.loading import load
from snipbias.models.score_all import keep, keys_of, known, state_of

HFLM: Any = library("lm_eval.models.huggingface").HFLM
DTYPES = ("auto", "stored", "float32", "bfloat16", "float16")
# What the harness's own class does with a model that is there; its other arguments load one.
READING = (
    *("truncation", "logits_cache", "max_length", "softmax_dtype", "mixed_precision_dtype"),
    *("batch_size", "max_batch_size", "add_bos_token", "prefix_token_id", "think_end_token"),
    *("enable_thinking", "chat_template_args"),
)
LOADING = ("pretrained", "edit", "revision", "dtype", "device", "device_map", "trust_remote_code")


@library("lm_eval.api.registry").register_model("snipbias")
class EditedLM(HFLM):
    """The harness's class for Hugging Face models, with an edit switched on during requests.

    The model is loaded as by `sb.load`. The harness's own code scores and generates, for an
    encoder-decoder by its `seq2seq` backend. Between requests the model is unedited.

    Args:
        pretrained: hub id, folder, .gguf file, `demo`, or a `LanguageModel`.
        edit: folder of an edit, or anything that can be applied; None is the original model.
        reading: arguments of the harness's `hf` model, of those that `READING` lists.

    Raises:
        SnipbiasError: an argument is not known here, the edit does not fit, or several processes
            are each to load the model (with a `LanguageModel`, each answers every request).
    """

    def __init__(
        self,
        pretrained: str | LanguageModel,
        edit: str | int | Path | Intervention | None = None,
        *,
        revision: str | None = None,
        dtype: str | torch.dtype = "auto",
        device: str | None = None,
        device_map: str | None = None,
        trust_remote_code: bool = False,
        **reading: Any,
    ) -> None:
        for name in reading:  # its class would take any argument, and not say that it does nothing
            if name not in READING:
                known = [*LOADING, *READING]
                raise SnipbiasError(
                    f"the model 'snipbias' has no argument {name!r}{did_you_mean(name, known)}: it "
                    f"has {', '.join(known)}; device_map=auto spreads a model over devices."
                )
        sizes = ("batch_size", "max_batch_size")  # on which no answer depends
        self._how = repr(sorted(each for each in reading.items() if each[0] not in sizes))
        if isinstance(edit, (str, int, Path)):  # a folder called 10 is a number to the harness
            edit = NeuronEdit.load(str(edit))
        if not isinstance(pretrained, LanguageModel):
            _in_one_process()
            name = str(dtype).removeprefix("torch.")
            if name not in DTYPES:
                known = ", ".join(DTYPES)
                raise SnipbiasError(f"there is no dtype {name!r} here: use one of {known}.")
            # The harness names cuda:0 on a machine without it too, where the user named nothing.
            there = device != "cuda:0" or torch.cuda.is_available()
            pretrained = load(
                str(pretrained),
                revision=None if revision is None else str(revision),
                dtype=name,  # type: ignore[arg-type]
                device=device if there else None,
                device_map=device_map,
                trust_remote_code=trust_remote_code,
            )
        self.edit, self.language_model = edit, pretrained
        lm = self.language_model
        if edit is not None:
            edit.check(lm)
        with lm.frozen(), _as_it_is(lm):
            super().__init__(
                pretrained=lm.model,
                tokenizer=copy.deepcopy(lm.tokenizer),  # it may be given a padding token
                backend="seq2seq" if lm.is_encoder_decoder else "causal",
                **reading,
            )

    def loglikelihood(self, requests: Sequence[Any], **options: Any) -> Any:
        """The harness's, under the edit."""
        return self._answered(super().loglikelihood, requests, **options)

    def loglikelihood_rolling(self, requests: Sequence[Any], **options: Any) -> Any:
        """The harness's, under the edit."""
        return self._answered(super().loglikelihood_rolling, requests, **options)

    def generate_until(self, requests: Sequence[Any], **options: Any) -> Any:
        """The harness's, under the edit."""
        return self._answered(super().generate_until, requests, **options)

    def _answered(self, ask: Any, requests: Sequence[Any], **options: Any) -> list[Any]:
        """Answers under the edit; those given before are read from the cache."""
        lm, edit = self.language_model, self.edit
        kind = (ask.__name__, version("lm_eval"), self._how)
        with lm.frozen(), edit.applied(lm) if edit is not None else nullcontext():
            keys = keys_of(state_of(lm), [(*kind, request.args) for request in requests])
            found = known(keys)
            left = [number for number in range(len(requests)) if number not in found]
            new = ask([requests[number] for number in left], **options) if left else []
        keep({keys[number]: answer for number, answer in zip(left, new, strict=True)})
        found = {n: tuple(a) if isinstance(a, list) else a for n, a in found.items()}
        return [{**found, **dict(zip(left, new, strict=True))}[n] for n in range(len(requests))]

    def get_model_info(self) -> dict[str, Any]:
        """Model and edit, which the harness records with the results."""
        lm, edit = self.language_model, self.edit
        told = edit.to_dict() if isinstance(edit, NeuronEdit) else edit and edit.label
        return {
            "model_num_parameters": lm.model.num_parameters(),
            "model_dtype": lm.model.dtype,
            "model_revision": lm.revision,
            "model_sha": lm.revision or "",
            "snipbias_version": __version__,
            "snipbias_model": asdict(ModelId.of(lm)),
            "snipbias_edit": told,
        }


@contextmanager
def _as_it_is(lm: LanguageModel) -> Iterator[None]:
    """Without warnings to those who hand it a model by mistake, and without tying weights: the
    harness ties them anew, and transformers 5 takes the head of every T5 for tied, so that
    Flan-T5's own head would be lost.
    """
    model: Any = lm.model
    model.tie_weights = lambda *_, **__: None
    with ExitStack() as after:
        after.callback(delattr, model, "tie_weights")
        quiet("lm_eval.models.huggingface", after)
        yield


def _in_one_process() -> None:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SnipbiasError(
            "the model 'snipbias' runs in one process: start it without accelerate launch, or "
            "'snipbias apply' the edit and give the checkpoint to the model 'hf'."
        )


def lm_eval_model(
    lm: LanguageModel, edit: Intervention | str | Path | None = None, **reading: Any
) -> EditedLM:
    """A model for `lm_eval.simple_evaluate(model=...)`: yours with an edit, or without.

    Args:
        reading: arguments of the harness's `hf` model that do not load one: batch_size, max_length,
            add_bos_token ...
    """
    _in_one_process()
    return EditedLM(lm, edit, **reading)
