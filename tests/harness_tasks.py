"""Tasks in the format of lm-evaluation-harness, and how its answers are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

CHOICE = """
task: own_choice
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{gold}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
WRITTEN = """
task: own_written
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{text}}}}"
doc_to_target: "{{{{choices[gold]}}}}"
generation_kwargs:
  max_gen_toks: 4
  until: ["."]
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
"""
ROLLING = """
task: own_rolling
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: word_perplexity
"""
TASKS = {"choice": CHOICE, "written": WRITTEN, "rolling": ROLLING}
ROWS = 24


def run(model: Any, folder: Path, tasks: list[str]) -> Any:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    return simple_evaluate(  # type: ignore[call-arg]
        model=model, tasks=tasks, task_manager=manager, bootstrap_iters=10
    )


def by_document(sample: Any) -> int:
    return sample["doc_id"]


def same(a: list[Any], b: list[Any]) -> bool:
    texts = [isinstance(answer, str) for answer in a]
    return a == b if any(texts) else np.allclose(a, b, rtol=1e-5, atol=1e-5)
