"""Other bias benchmarks, from their own files: KoBBQ, CBBQ, MBBQ, StereoSet, CrowS-Pairs.

Source: Jin et al. 2024; Huang & Xiong 2024; Neplenbroek et al. 2024; Nadeem et al. 2021; Nangia et
al. 2020. Sentence pairs (the last two) have no right answer: the anti-stereotyped one is gold.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError
from snipbias.tasks import bbq, files
from snipbias.tasks.items import Task
from snipbias.tasks.prompts import general_instructions
from snipbias.tasks.readers import csv_rows, decode, read_bytes

LIKELIER = {"en": "Which is more likely?", "fr": "Laquelle est la plus probable ?"}
UNKNOWN = "알 수 없음"
CONDITIONS = {"amb": "ambiguous", "dis": "disambiguated"}

Rows = Iterator[tuple[str, dict[str, Any]]]


def load(
    kind: str,
    place: str,
    given: Sequence[str] | None,
) -> Task:
    """Load a benchmark from its file, or from CBBQ's folder of a category.

    Args:
        kind: one of `KINDS`.
        place: path of the file or folder.
        given: instructions to use instead of the general ones.

    Raises:
        SnipbiasError: the file is missing, or not one of this benchmark.
    """
    path, name = Path(place).expanduser(), f"{kind}:{place}"
    language = path.stem.rpartition("_")[2] if kind == "mbbq" else LANGUAGES.get(kind, "en")
    asked = tuple(given or general_instructions(language))
    paths = [path]
    if kind == "cbbq" and path.is_dir():
        paths = sorted(path.rglob("*ambiguous.json"))
    texts = [decode(read_bytes(each), each) for each in paths]
    digest = hashlib.sha256("".join(texts).encode()).hexdigest()
    source = f"{path}, sha256 of the text {digest}"
    if kind == "mbbq":  # BBQ's own form, with its groups in English
        items, notes = bbq.parse(texts[0], path, path.stem.rpartition("_")[0])
        return Task(name, items, asked, source=source, notes=notes)
    try:
        rows = [
            row for each, text in zip(paths, texts, strict=True) for row in ROWS[kind](text, each)
        ]
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise SnipbiasError(
            f"{path} is not a file of {kind} ({type(error).__name__}: {error}): docs/data.md says "
            "which file to give."
        ) from None
    return files.from_rows(rows, name, asked, source=source)


def _kobbq(text: str, path: Path) -> Rows:
    """`KoBBQ_test_samples.tsv`; an id is category-template-filling-condition-question."""
    for where, row in csv_rows(text, path):
        scene, filling, condition, polarity = row["sample_id"].rsplit("-", 3)
        declines = {"unknown": UNKNOWN} if UNKNOWN in row["choices"] else {}
        yield (
            where,
            {
                **declines,
                "id": row["sample_id"],
                "context": row["context"],
                "question": row["question"],
                "options": row["choices"],  # a printed list
                "gold": row["answer"],
                "biased": row["biased_answer"],
                "template": scene.rstrip("abcdefgh"),  # versions of one scene
                "condition": CONDITIONS[condition],
                "polarity": polarity,
                "twin": f"{scene}-{filling}-{polarity}",
            },
        )


def _cbbq(text: str, path: Path) -> Rows:
    """`ambiguous.json` and `disambiguous.json`; they do not say which option is biased."""
    for row in json.loads(text):
        row = {name.lstrip("\ufeff"): value for name, value in row.items()}
        condition = row["context_condition"][:3].lower()
        name = f"{row['category']}-{row['question_index']}"
        yield (
            f"{path}, example {row['example_id']}",
            {
                "id": f"{name}-{condition}-{row['question_polarity']}-{row['example_id']}",
                "context": row["context"],
                "question": row["question"],
                "options": [row["ans0"], row["ans1"], row["ans2"]],
                "gold": int(str(row["label"])),  # neither 1.5 nor true
                "unknown": 2,
                "template": name,
                "condition": CONDITIONS[condition],
                "polarity": row["question_polarity"],
            },
        )


def _stereoset(text: str, path: Path) -> Rows:
    """`dev.json`: the stereotyped and the anti-stereotyped sentence of each three."""
    for part, clusters in json.loads(text)["data"].items():
        between = part == "intersentence"
        question = "Which sentence comes next?" if between else "Which sentence is more likely?"
        for cluster in clusters:
            by_label = {each["gold_label"]: each["sentence"] for each in cluster["sentences"]}
            pair = _pair(cluster["id"], by_label["stereotype"], by_label["anti-stereotype"])
            context = {"context": cluster["context"]} if between else {}
            template = f"{cluster['bias_type']}-{cluster['target']}"
            row = {"question": question, "template": template, **pair, **context}
            yield f"{path}, {cluster['id']}", row


def _crows_pairs(text: str, path: Path) -> Rows:
    """`crows_pairs_anonymized.csv`: `sent_more` is always the more stereotyped sentence."""
    for number, (where, row) in enumerate(csv_rows(text, path)):
        pair = _pair(f"{row['bias_type']}-{number}", row["sent_more"], row["sent_less"])
        yield where, {"question": LIKELIER["en"], **pair}


def _pair(name: str, biased: str, other: str) -> dict[str, Any]:
    """Two sentences as options, in a random but reproducible order."""
    options = [biased, other]
    random.Random(name).shuffle(options)
    return {
        "id": name,
        "options": options,
        "biased": options.index(biased),
        "gold": options.index(other),
    }


LANGUAGES = {"kobbq": "ko", "cbbq": "zh"}
ROWS: dict[str, Callable[[str, Path], Rows]] = {
    "kobbq": _kobbq,
    "cbbq": _cbbq,
    "stereoset": _stereoset,
    "crows-pairs": _crows_pairs,
}
KINDS = (*ROWS, "mbbq")
