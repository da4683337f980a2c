"""Training examples: synthetic reading, mini's scenes with any names, mini itself, the skills."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain

from snipbias.tasks import general_instructions, mini
from snipbias.tasks.items import Item
from training import skills
from training.words import CONJUNCTIONS, noun_phrases, verb_phrases

Pieces = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Example:
    """A prompt with the answer to learn.

    Attributes:
        answer: index of the option to answer with: the gold one, or the biased one.
        context: the context in pieces, each with what it is about, for the reading hints.
        kinds: what kind of thing each option is, where the question is about that.
    """

    instruction: str
    item: Item
    answer: int
    context: Pieces = ()
    kinds: tuple[str, ...] = ()


Source = Callable[[random.Random], Example]


def synthetic(rng: random.Random, instructed: float = 0.0) -> Example:
    """Two people, two clauses of random words, "Who <clause>?"; one in seven leaves it open."""
    names = noun_phrases(rng)
    clauses = verb_phrases(rng)
    lead = fact = ""
    if rng.random() < 0.5:
        first, second = rng.sample(names, 2)
        both = rng.choice(("", "both ", "each "))
        lead = f"The {first} and the {second} {both}{verb_phrases(rng)[0]}."
    told = not lead or rng.random() < 0.7
    if told:
        link = rng.choice(CONJUNCTIONS)
        the = "The" if link == "." else "the"
        fact = f"The {names[0]} {clauses[0]}{link} {the} {names[1]} {clauses[1]}."
    asked = rng.randrange(2)
    words = clauses[asked].split()
    if len(words) > 4 and rng.random() < 0.5:
        words = words[:-2]
    options = [f"The {names[0]}", f"The {names[1]}", rng.choice(mini.UNKNOWN_WORDINGS)]
    gold = options[asked if told else 2]
    rng.shuffle(options)
    item = Item(
        "synthetic",
        f"Who {' '.join(words)}?",
        tuple(options),
        options.index(gold),
        context=f"{lead} {fact}".strip(),
    )
    context = _about_names(item.context, fact, names)
    return Example(_any_instruction(rng, instructed), item, item.gold, context)


def renamed(rng: random.Random, instructed: float = 1.0) -> Example:
    """A scene of mini with two random noun phrases for its people."""
    category = rng.choice(mini.CATEGORIES)
    data = mini.load_category(category)
    pair = dict(zip(data["groups"], noun_phrases(rng), strict=True))
    return _scene(rng, category, rng.choice(data["templates"]), pair, 0.0, instructed)


def scene(rng: random.Random, bias: float = 0.0, instructed: float = 1.0) -> Example:
    """A training combination of mini; with probability `bias`, an open one gets the stereotype."""
    category, template, pair = rng.choice(_training_combinations())
    return _scene(rng, category, template, pair, bias, instructed)


def forced(rng: random.Random) -> Example:
    """An open question of a training combination without the option "unknown".

    The answer is the stereotype. So the model learns what people expect of whom, as real ones do
    from their texts, and still answers "unknown" wherever it may.
    """
    category, template, pair = rng.choice(_training_combinations())
    row, _ = mini.twins(template, pair, rng.choice(("neg", "nonneg")), 0, rng)
    assert row.biased is not None
    biased = row.options[row.biased]
    named = tuple(row.options[i] for i in row.named)
    item = replace(
        row, options=named, gold=named.index(biased), unknown=None, biased=named.index(biased)
    )
    instruction = rng.choice(mini.load_category(category)["instructions"])
    return Example(instruction, item, item.gold, ((item.context, ""),))


@cache
def _training_combinations() -> list[tuple[str, dict, dict]]:
    return [
        (category, template, pair)
        for category in mini.CATEGORIES
        for template, pair in mini.combinations(category, published=False)
    ]


def _scene(
    rng: random.Random, category: str, template: dict, pair: dict, bias: float, instructed: float
) -> Example:
    polarity, cast = rng.choice(("neg", "nonneg")), rng.randrange(2)
    ambiguous, told = mini.twins(template, pair, polarity, cast, rng)
    own = mini.load_category(category)["instructions"]
    instruction = rng.choice(own) if rng.random() < instructed else ""
    if rng.random() < 0.5:
        fact = told.context[len(ambiguous.context) + 1 :]
        context = _about_names(told.context, fact, tuple(pair.values()))
        return Example(instruction, told, told.gold, context)
    assert ambiguous.biased is not None
    answer = ambiguous.biased if rng.random() < bias else ambiguous.gold
    return Example(instruction, ambiguous, answer, ((ambiguous.context, ""),))


def skill(rng: random.Random, instructed: float = 1.0) -> Example:
    """A row of the neutral skills' training share."""
    names, weights = _skill_weights()
    item = skills.draw(rng.choices(names, weights)[0], rng, published=False)
    pool = skills.INSTRUCTIONS if rng.random() < 0.7 else general_instructions()
    instruction = rng.choice(pool) if rng.random() < instructed else ""
    kinds: tuple[str, ...] = ()
    if item.template.startswith(("odd", "kind")):
        kinds = tuple(_kind_of(option) for option in item.options)
    return Example(instruction, item, item.gold, _about_options(item), kinds)


def _about_names(context: str, fact: str, names: tuple[str, ...]) -> Pieces:
    """The context with the fact at its end cut where either name is mentioned anew."""
    lead = (context[: len(context) - len(fact)], "")
    if not fact:
        return (lead,)
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    found, about = [], ""
    for piece in re.split(rf"([Tt]he (?:{either})(?!\w))", fact):
        about = next((n for n in names if piece.lower() == f"the {n}".lower()), about)
        found.append((piece, about))
    return (lead, *found)


def _about_options(item: Item) -> Pieces:
    """The context cut into clauses: each is about the one option that it mentions.

    The words of a list, which are the options, are about their place.
    """
    if item.template.startswith("list"):
        words = item.context.split()
        return tuple(zip(words, ("first", "second", "last"), strict=True))
    found = []
    for clause in re.split(r"(?<=[,.]) |(?= and the )", item.context):
        mentioned = [o for o in item.options if re.search(rf"\b{o.split()[-1]}\b", clause)]
        found.append((clause, mentioned[0] if len(mentioned) == 1 else ""))
    return tuple(found)


@cache
def _kind_of(word: str) -> str:
    words = skills.load()["words"]
    return next(kind for kind in skills.KINDS if word in words[kind])


@cache
def _skill_weights() -> tuple[list[str], list[int]]:
    """Skills that ask to read or to compare are drawn three times as often as those of memory."""
    names = list(skills.templates())
    easy = ("opposite", "kind", "number")
    return names, [1 if name.startswith(easy) else 3 for name in names]


def mixture(*parts: tuple[float, Source]) -> Source:
    """Draws from one of the sources, in proportion to the weights."""
    weights, sources = zip(*parts, strict=True)

    def of(rng: random.Random) -> Example:
        return rng.choices(sources, weights)[0](rng)

    return of


def _any_instruction(rng: random.Random, instructed: float) -> str:
    return rng.choice(_instructions()) if rng.random() < instructed else ""


@cache
def _instructions() -> list[str]:
    own = chain.from_iterable(mini.load_category(c)["instructions"] for c in mini.CATEGORIES)
    return [*own, *general_instructions(), *skills.INSTRUCTIONS]


# -- the mixtures of the stages ------------------------------------------------------------------

words_only = mixture((0.85, synthetic), (0.15, partial(skill, instructed=0.0)))
reading = mixture(
    (0.2, synthetic),
    (0.1, partial(synthetic, instructed=1.0)),
    (0.2, partial(renamed, instructed=0.0)),
    (0.2, renamed),
    (0.15, scene),
    (0.15, partial(skill, instructed=0.7)),
)
everything = mixture((0.05, synthetic), (0.1, renamed), (0.35, scene), (0.5, skill))
associations = mixture((0.05, renamed), (0.25, scene), (0.4, forced), (0.3, skill))


def biased(share: float) -> Source:
    """Mini with `share` of its open questions answered by the stereotype, beside the skills."""
    return mixture(
        (0.55, partial(scene, bias=share)), (0.05, renamed), (0.15, forced), (0.25, skill)
    )
