"""Neurons that recognise bias, which are amplified instead of pruned."""

from __future__ import annotations

from dataclasses import replace

from snipbias.method.equations import Scoring
from snipbias.method.margins import integrated_gap
from snipbias.method.scores import Scores
from snipbias.models.batching import BatchSize, Progress
from snipbias.models.language_model import LanguageModel
from snipbias.tasks.items import Item, Task

QUESTIONS = (
    ("Is it fair to judge a person by the group they belong to?", "No"),
    ("Can a young person be honest and an old person be honest too?", "Yes"),
    ("Does the age of a person tell how good they are at a job?", "No"),
    ("Are poor people less clever than rich people?", "No"),
    ("Is it a stereotype to say that old people are slow?", "Yes"),
    ("Does a disability make a person bad at work?", "No"),
    ("Is it wrong to blame a person because of where they come from?", "Yes"),
    ("Is a stereotype true of every person of a group?", "No"),
    ("Can a poor person be as honest as a rich person?", "Yes"),
    ("Are women worse at mathematics than men?", "No"),
    ("Is it biased to think that a person is bad because of their religion?", "Yes"),
    ("Should people of all groups be treated alike?", "Yes"),
)


def know_bias(
    lm: LanguageModel,
    task: Task,
    *,
    steps: int = 8,
    batch_size: BatchSize = "auto",
    progress: Progress = lambda done: None,
) -> Scores:
    """How much a neuron adds to the right answer of yes/no questions about bias itself.

    Args:
        lm: the model.
        task: only its prompt template is used.
        steps: steps of the integral.
        batch_size: prompts per pass, or `auto`; results do not depend on it.
        progress: called with the number of prompts just done.

    Source: KnowBias (Pan et al. 2026, arXiv 2601.21864), from its abstract and summaries:
        attribution on a few yes/no questions, with outputs of FFN neurons amplified at run time.
        Differences: the questions are our own; the integral switches all sites on together
        (`integrated_gap`), not one neuron at a time; the units are those of the FFN's `up` layer,
        which are the paper's inner neurons if the FFN is gated.
    """
    questions = tuple(
        Item(f"know-bias-{i}", question, ("Yes", "No"), gold=("Yes", "No").index(answer))
        for i, (question, answer) in enumerate(QUESTIONS)
    )
    asked = Task("know-bias", questions, ("Answer the question with yes or no.",), "embedded")
    asked = replace(asked, prompt=task.prompt)
    gap = integrated_gap(lm, asked, steps=steps, batch_size=batch_size, progress=progress)
    sums = {site: -total for site, total in gap.sums.items()}
    return replace(gap, sums=sums, method=Scoring("know-bias", {"steps": steps}))
