"""snipbias in a browser: one question, with and without a few neurons. For a Gradio space.

The model is the small one that comes with the package; MODEL, TASK and NEURONS in the environment
name others. Nothing is uploaded: an edit is found when the app starts.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import snipbias as sb

MODEL, TASK = os.environ.get("MODEL", "demo"), os.environ.get("TASK", "mini:age")
NEURONS = int(os.environ.get("NEURONS", "30"))
MOST_LETTERS, MOST_OPTIONS = 1_000, 6  # of a visitor's own question
NOTE = (
    "An edit that answers 'unknown' more often is not yet a fairer model: read the table of "
    "held-out questions below, with its controls, before you believe the shares."
)


@cache
def model() -> sb.LanguageModel:
    """The model, loaded once."""
    return sb.load(MODEL)


@cache
def found() -> sb.NeuronEdit:
    """The neurons, found once, on templates that the examples are not of."""
    return sb.find(model(), sb.task(TASK), n=NEURONS, samples=5)


@cache
def random_neurons() -> sb.NeuronEdit:
    """As many neurons by chance: the control."""
    return sb.random_edit(model(), len(found()))


def examples(count: int = 6) -> list[list[str]]:
    """Held-out questions: context, question, and an option per line."""
    items = sb.task(TASK).test.items
    step = max(1, len(items) // count)
    return [[i.context, i.question, "\n".join(i.options)] for i in items[::step][:count]]


def answer(context: str, question: str, options: str) -> list[list[Any]]:
    """Each option's share of probability: original, edited, and with random neurons pruned.

    Args:
        options: one per line.
    """
    texts = [line.strip() for line in options.splitlines() if line.strip()]
    if not question.strip() or not 2 <= len(set(texts)) == len(texts) <= MOST_OPTIONS:
        raise ValueError(
            f"Give a question and 2 to {MOST_OPTIONS} different options, one per line."
        )
    if len(context) + len(question) + len(options) > MOST_LETTERS:
        raise ValueError(f"Give at most {MOST_LETTERS:,} letters.")
    row = {"context": context, "question": question, "options": texts, "gold": 0}
    task = sb.task([row])
    task = task.with_instructions(sb.task(TASK).instructions[:3])
    edits = [found(), random_neurons()]
    evaluation = sb.evaluate(model(), task, edits)
    shares = []
    for method in evaluation.methods:
        scores = evaluation.rows(method).scores
        probability = 2.718281828459045 ** (scores - scores.max(axis=1, keepdims=True))
        shares.append((probability / probability.sum(axis=1, keepdims=True)).mean(axis=0))
    return [
        [text, *(round(100 * float(share[i]), 1) for share in shares)]
        for i, text in enumerate(texts)
    ]


@cache
def measured() -> str:
    """What the edit does to held-out questions, beside its controls."""
    return str(sb.compare(model(), sb.task(TASK), found(), items=16, texts=()))


def build() -> Any:
    """The page."""
    import gradio as gr

    def asked(context: str, question: str, options: str) -> list[list[Any]]:
        try:
            return answer(context, question, options)
        except (ValueError, sb.SnipbiasError) as error:
            raise gr.Error(str(error)) from None

    with gr.Blocks(title="snipbias") as page:
        gr.Markdown(
            f"# snipbias\nA model with and without {NEURONS} of its neurons. Model: `{MODEL}`, "
            f"found on `{TASK}`.\n\n{NOTE}"
        )
        with gr.Row():
            with gr.Column():
                context = gr.Textbox(label="Context", lines=3)
                question = gr.Textbox(label="Question")
                options = gr.Textbox(label="Options, one per line", lines=3)
                button = gr.Button("Ask", variant="primary")
            table = gr.Dataframe(
                headers=["option", "original, %", "edited, %", "random neurons, %"],
                label="Share of probability, mean of three instructions",
                interactive=False,
            )
        inputs = [context, question, options]
        gr.Examples(examples(), inputs=inputs, label="Held-out questions")
        button.click(asked, inputs, table)
        with gr.Accordion("Held-out questions, with controls (a minute)", open=False):
            text = gr.Code(label="snipbias.compare", language=None)
            gr.Button("Measure").click(measured, None, text)
    return page


if __name__ == "__main__":
    build().launch()
