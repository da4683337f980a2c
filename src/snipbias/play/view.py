"""The answers' side of the page, redrawn whenever the question or an edit changes."""

from __future__ import annotations

from collections.abc import Callable

from snipbias.models.sites import Neuron
from snipbias.play.answers import Answer, Question
from snipbias.play.elements import html, minus, percent, section, sentence
from snipbias.play.neurons import NeuronTable
from snipbias.play.session import Result


class View:
    """The answers to the question `shown`; None if there are none."""

    def __init__(self, turn: Callable[[Neuron, bool], None]) -> None:
        self.shown: Question | None = None
        self._neurons = NeuronTable(turn)
        with section("Answers") as self._card:
            # Polite: screen readers announce changes without moving the focus.
            self._status = html("p", "status").props("role=status aria-live=polite")
            self._stale = html("p", "stale-note").props("aria-live=polite")
            self._error = html("p", "error").props("role=alert")
            self._bars = html("div")
        self.rest = html("div", "rest")

    def outdate(self, why: str) -> None:
        """Mark the shown answer as outdated, if there is one; no longer if there is no reason."""
        why = why if self.shown else ""
        self._stale.set_text(why)
        for part in (self._card, self.rest):
            part.classes(**{"add" if why else "remove": "stale"})

    def wait(self) -> None:
        """Say that the model is being asked; the last answer stays until the next one."""
        self._card.props("aria-busy=true")
        self._error.set_text("")
        if not self._status.text:
            self._status.set_text("The model is being asked.")

    def fail(self, message: str) -> None:
        """Show an error instead of an answer."""
        self._begin(None, "", sentence(message))

    def show(self, result: Result) -> None:
        """Show the answers."""
        self._begin(result.question, _verdict(result))
        with self._bars:
            _options(result)
        with self.rest:
            with section("Generated text"):
                _written(result)
            if result.firings:
                with section("Neurons that the edits change"):
                    self._neurons.draw(result)
            with section(), html("details"):
                html("summary", text="Exact prompt")
                html("pre", "prompt", text=result.prompt).props("tabindex=0")

    def _begin(self, shown: Question | None, status: str, error: str = "") -> None:
        """Replace the texts above an answer, and remove the last one."""
        self._card.props("aria-busy=false")
        self.shown = shown
        self.outdate("")
        self._status.set_text(status)
        self._error.set_text(error)
        self._bars.clear()
        self.rest.clear()


def _verdict(result: Result) -> str:
    """The result in one sentence."""
    options = result.question.item.options
    said = _says("The model answers", options, result.original)
    if result.edited is None:
        return f"{said}."
    again = "again " if result.edited.chosen == result.original.chosen else ""
    return f"{said}; edited, it {again}{_says('answers', options, result.edited)}."


def _says(verb: str, options: tuple[str, ...], answer: Answer) -> str:
    return f"{verb} “{options[answer.chosen]}” ({percent(answer.shares[answer.chosen])})"


def _options(result: Result) -> None:
    """Each option with its roles, and its probability before and after."""
    item = result.question.item
    gold = item.gold if result.question.gold_known else None
    marks = {"gold": gold, "biased": item.biased, "unknown": item.unknown}
    with html("ul", "options"):
        for index, option in enumerate(item.options):
            with html("li"):
                with html("p", "option"):
                    html("span", "text", text=option)
                    for mark, place in marks.items():
                        if place == index:
                            html("span", f"mark {mark}", text=mark)
                for name, answer in result.answers.items():
                    _bar(name, answer, index)
    said = "Percent: P among these options. log P: sum over the option's own tokens."
    html("p", "legend", text=said)


def _bar(name: str, answer: Answer, index: int) -> None:
    is_chosen = answer.chosen == index
    with html("div", f"bar {name}" + " chosen" * is_chosen):
        html("span", "name", text=name)
        with html("span", "track").props("aria-hidden=true"):
            html("span", "fill").style(f"width: {answer.shares[index]:.2%}")
        html("span", "share", text=percent(answer.shares[index]))
        with html("span", "logp"):
            html("span", "unit", text="log P ")
            html("span", text=minus(answer.logprobs[index]))
        html("span", "answer", text="answer" if is_chosen else "")


def _written(result: Result) -> None:
    """The texts that both models generate, side by side."""
    options = result.question.item.options
    with html("div", "written"):
        for name, answer in result.answers.items():
            if name == "random":
                continue
            with html("figure", name):
                html("figcaption", text=name)
                html("blockquote", text=answer.text or "(nothing)")
                matched = None if answer.matched is None else options[answer.matched]
                html("p", "legend", text=f"taken as: {matched}" if matched else "matches no option")
