"""Other benchmarks: from their own files, or through lm-evaluation-harness (extra `lm-eval`).

KoBBQ, CBBQ, MBBQ, StereoSet and CrowS-Pairs are read from files. Sentence pairs (the last two) have
no right answer: the anti-stereotyped one is gold. Source: Jin et al. 2024; Huang & Xiong 2024;
Neplenbroek et al. 2024; Nadeem et al. 2021; Nangia et al. 2020.
"""

from __future__ import annotations

import hashlib
import json
import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from snipbias.base.errors import SnipbiasError, require
from snipbias.base.words import did_you_mean, one_line
from snipbias.tasks import bbq
from snipbias.tasks.items import Task
from snipbias.tasks.prompts import general_instructions
from snipbias.tasks.readers import Rows, csv_rows, decode, read_bytes
from snipbias.tasks.rows import from_rows

LIKELIER = {"en": "Which is more likely?", "fr": "Laquelle est la plus probable ?"}
UNKNOWN = "알 수 없음"
HARNESS = "lm-eval:"
HARNESS_LANGUAGES = {"esbbq": "es", "cabbq": "ca", "crows_pairs_french": "fr"}
CUE = re.compile(r"\n[^\n:]{1,20}:\s*$")  # the harness's "Answer:"; our prompt has its own
CONDITIONS = {"amb": "ambiguous", "dis": "disambiguated"}

Found = Iterator[tuple[str, dict[str, Any]]]


def load(kind: str, place: str) -> Task:
    """Load one of `KINDS` from its file, or from CBBQ's folder of a category.

    Raises:
        SnipbiasError: the file is missing, or not one of this benchmark.
    """
    path, name = Path(place).expanduser(), f"{kind}:{place}"
    language = path.stem.rpartition("_")[2] if kind == "mbbq" else LANGUAGES.get(kind, "en")
    asked = general_instructions(language)
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
    return from_rows(Rows(rows, name, source), asked)


def _kobbq(text: str, path: Path) -> Found:
    """`KoBBQ_test_samples.tsv`; an id is category-template-filling-condition-question."""
    for where, row in csv_rows(text, path):
        scene, filling, condition, polarity = row["sample_id"].rsplit("-", 3)
        declines = {"unknown": UNKNOWN} if UNKNOWN in row["choices"] else {}
        made = {
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
        }
        yield where, {**declines, **made}


def _cbbq(text: str, path: Path) -> Found:
    """`ambiguous.json` and `disambiguous.json`; they do not say which option is biased."""
    for row in json.loads(text):
        row = {name.lstrip("\ufeff"): value for name, value in row.items()}
        condition = row["context_condition"][:3].lower()
        name = f"{row['category']}-{row['question_index']}"
        made = {
            "id": f"{name}-{condition}-{row['question_polarity']}-{row['example_id']}",
            "context": row["context"],
            "question": row["question"],
            "options": [row["ans0"], row["ans1"], row["ans2"]],
            "gold": int(str(row["label"])),  # neither 1.5 nor true
            "unknown": 2,
            "template": name,
            "condition": CONDITIONS[condition],
            "polarity": row["question_polarity"],
        }
        yield f"{path}, example {row['example_id']}", made


def _stereoset(text: str, path: Path) -> Found:
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


def _crows_pairs(text: str, path: Path) -> Found:
    """`crows_pairs_anonymized.csv`: `sent_more` is always the more stereotyped sentence."""
    for number, (where, row) in enumerate(csv_rows(text, path)):
        pair = _pair(f"{row['bias_type']}-{number}", row["sent_more"], row["sent_less"])
        yield where, {"question": LIKELIER["en"], **pair}


def _pair(name: str, biased: str, other: str) -> dict[str, Any]:
    """Two sentences as options, in a random but reproducible order."""
    options = [biased, other]
    random.Random(name).shuffle(options)
    places = {"biased": options.index(biased), "gold": options.index(other)}
    return {"id": name, "options": options, **places}


LANGUAGES = {"kobbq": "ko", "cbbq": "zh"}
ROWS: dict[str, Callable[[str, Path], Found]] = {
    "kobbq": _kobbq,
    "cbbq": _cbbq,
    "stereoset": _stereoset,
    "crows-pairs": _crows_pairs,
}
KINDS = (*ROWS, "mbbq")


def load_harness(name: str, include_path: str | Path | None) -> Task:
    """Load a task, group or tag of the harness; `include_path` holds your own task files (YAML).

    Raises:
        SnipbiasError: the harness has no such task, or its data cannot be loaded.
    """
    require("lm_eval", "a task of lm-evaluation-harness needs", "lm-eval")
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    own = None if include_path is None else str(include_path)
    manager = TaskManager(include_path=own, include_defaults=own is None)
    if name not in manager.all_tasks:
        raise SnipbiasError(
            f"lm-evaluation-harness has no task {name!r}{did_you_mean(name, manager.all_tasks)}: "
            "'lm-eval ls tasks' lists them; --data-dir names a folder with your own task files."
        )
    by_start = HARNESS_LANGUAGES.items()
    language = next((code for start, code in by_start if name.startswith(start)), "en")
    try:
        rows = list(_harness_rows(manager.load([name])["tasks"], language))
    except SnipbiasError:
        raise
    except Exception as error:  # data loaders and a task file's own code can raise anything
        raise SnipbiasError(
            f"lm-evaluation-harness could not load {name} ({one_line(error)}): check the task's "
            "data, and the connection to the hub."
        ) from error
    found = Rows(rows, HARNESS + name, f"lm-eval task {name}")
    return from_rows(found, general_instructions(language))


def _harness_rows(tasks: Mapping[str, Any], language: str) -> Found:
    for name, task in tasks.items():
        if task.OUTPUT_TYPE != "multiple_choice":
            raise SnipbiasError(
                f"{name} is a {task.OUTPUT_TYPE} task: only multiple_choice tasks are supported."
            )
        for number, doc in enumerate(task.eval_docs):
            row = _harness_row(name, task, doc, language)
            yield f"{name}, row {number}", {"id": f"{name}-{number}", **row}


def _harness_row(name: str, task: Any, doc: Mapping[str, Any], language: str) -> dict[str, Any]:
    text, choices, target = task.doc_to_text(doc), task.doc_to_choice(doc), task.doc_to_target(doc)
    if not isinstance(text, str):
        raise SnipbiasError(f"{name} gives each choice its own text, which is not supported.")
    right = choices.index(target) if isinstance(target, str) else int(target)
    row: dict[str, Any] = {"question": CUE.sub("", text).strip() or LIKELIER[language]}
    if name.startswith("crows_pairs"):  # its target is the more stereotyped sentence
        return {**row, "options": choices, "biased": right, "gold": 1 - right}
    if condition := doc.get("context_condition"):  # BBQ and its like
        choices = choices[:3]  # of EsBBQ's nine wordings of "unknown" the first
        groups = [str(info) for info in (doc.get("answer_info") or {}).values()]
        declines = [i for i, group in enumerate(groups[: len(choices)]) if "unknown" in group]
        template = doc.get("question_index", doc.get("template_id", ""))
        row |= {"condition": condition, "template": f"{name}-{template}" if template else ""}
        row |= {"unknown": declines[0] if len(declines) == 1 else 2}
    return {**row, "options": list(choices), "gold": right}
