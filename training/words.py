"""Word banks of the synthetic reading exercises, and noun and verb phrases drawn from them.

The exercises combine words at random, so that nothing can be answered from memory: whoever wants
the answer has to find the clause and see who it is about.
"""

from __future__ import annotations

import json
import random
import re
from functools import cache
from pathlib import Path

from snipbias.tasks import general_instructions, mini
from training import skills

BANKS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("words.json").read_text(encoding="utf-8")
)
ADJECTIVES, PEOPLE, THINGS = BANKS["adjectives"], BANKS["people"], BANKS["things"]
VERBS, PLACES = BANKS["verbs"], BANKS["places"]
CONJUNCTIONS = (", and", ", but", ", while", ".")


def noun_phrases(rng: random.Random) -> tuple[str, str]:
    """Two different noun phrases without article, some sharing a word as mini's pairs do."""
    first, second = _noun_phrase(rng), _noun_phrase(rng)
    kind = rng.random()
    if kind < 0.12:
        noun = _noun(rng)
        first, second = (f"{noun} with {_described_thing(rng)}" for _ in range(2))
    elif kind < 0.3:
        noun = _noun(rng)
        first, second = (f"{rng.choice(ADJECTIVES)} {noun}" for _ in range(2))
    return (first, second) if first != second else noun_phrases(rng)


def verb_phrases(rng: random.Random) -> tuple[str, str]:
    """Two different verb phrases, some sharing their verb or their object."""
    first, second = _verb_phrase(rng), _verb_phrase(rng)
    kind = rng.random()
    if kind < 0.1:
        verb = rng.choice(VERBS)
        first, second = (f"{verb} the {rng.choice(THINGS)}" for _ in range(2))
    elif kind < 0.2:
        thing = rng.choice(THINGS)
        first, second = (f"{rng.choice(VERBS)} the {thing}" for _ in range(2))
    return (first, second) if first != second else verb_phrases(rng)


def _noun_phrase(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return _noun(rng)
    if kind < 0.75:
        return f"{rng.choice(ADJECTIVES if rng.random() < 0.7 else any_words())} {_noun(rng)}"
    if kind < 0.85:
        return rng.choice(mini_people())
    if kind < 0.95:
        return f"{_noun(rng)} with {_described_thing(rng)}"
    return f"{_noun(rng)} {rng.choice(('in', 'from'))} the {rng.choice(THINGS + PLACES)}"


def _described_thing(rng: random.Random) -> str:
    return f"{rng.choice(ADJECTIVES)} {rng.choice(THINGS)}"


def _noun(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(PEOPLE)
    if kind < 0.75:
        return rng.choice(people_words())
    return rng.choice(THINGS if kind < 0.9 else any_words())


def _verb_phrase(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.25:
        return rng.choice(mini_clauses())
    words = [rng.choice(VERBS), rng.choice(("the", "a")), rng.choice(THINGS)]
    if kind < 0.5:
        words.insert(2, rng.choice(ADJECTIVES))
    if kind > 0.8:
        words += [rng.choice(("in", "at", "near", "behind")), "the", rng.choice(PLACES)]
    return " ".join(words)


@cache
def mini_people() -> list[str]:
    """The noun phrases of mini's pairs."""
    pairs = [pair for category in mini.CATEGORIES for pair in mini.load_category(category)["pairs"]]
    return [phrase for pair in pairs for phrase in pair.values()]


@cache
def people_words() -> list[str]:
    """The first and last words of those phrases: the heads, and what tells them apart."""
    return sorted({phrase.split()[i] for phrase in mini_people() for i in (0, -1)})


@cache
def mini_clauses() -> list[str]:
    """What is said about either person in the facts of mini's templates."""
    clauses = []
    for category in mini.CATEGORIES:
        for template in mini.load_category(category)["templates"]:
            parts = re.split(r"[Tt]he \{(?:NEG|POS)\} ", template["facts"][0])[1:]
            clauses += [re.sub(r"(,? (and|but|while) |\.)$", "", part) for part in parts]
    return clauses


@cache
def any_words() -> list[str]:
    """Lower-case words of everything the model is to read, as fillers that mean nothing."""
    return sorted(word for word in all_words() if word.islower() and len(word) > 3)


@cache
def all_words() -> frozenset[str]:
    """Every word of mini, of the skills, of the instructions and of the banks above."""
    texts = [" ".join(mini.UNKNOWN_WORDINGS), *general_instructions(), *skills.INSTRUCTIONS]
    texts += _strings([mini.load_category(category) for category in mini.CATEGORIES])
    texts += _strings(skills.load())
    texts += [item.question for item in mini.skills()]
    texts += _strings(BANKS)
    texts += ["Context Question Options Answer", "Who What Where In The A"]
    plain = re.sub(r"\{\w+\}", " ", " ".join(texts))
    return frozenset(re.findall(r"[A-Za-z]+(?:['-][A-Za-z]+)*", plain))


def _strings(data: object) -> list[str]:
    if isinstance(data, str):
        return [data]
    if isinstance(data, dict):
        return [text for value in data.values() for text in _strings(value)]
    return [text for value in data for text in _strings(value)] if isinstance(data, list) else []
