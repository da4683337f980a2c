"""Every annotated shape and type of the package holds while the whole job runs.

In a process of its own: the hook checks types where other tests pass wrong ones on purpose.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

JOB = """
from jaxtyping import install_import_hook

with install_import_hook("snipbias", "beartype.beartype"):
    import snipbias as sb
    from families import tiny
    from toys import task

    TASK = task()
    byte, letters = sb.Reading("byte"), sb.Reading(options="letters")
    written = sb.Reading(generate=True)
    small = {"items": 4, "elsewhere": 1, "texts": ["one two three four five"], "chat": ["one two"]}
    for family, readings in {"flan-t5": (letters, written), "llama": (byte, written)}.items():
        lm = tiny(family)
        for method in (sb.Method.v1(), sb.Method.v2(tokens="mean", instructions="max")):
            edit = sb.attribute(lm, TASK.find, method).top(5)
        with edit.applied(lm):
            pass
        edit.bake(lm).undo()
        for reading in readings:
            print(sb.compare(lm, TASK, edit, reading=reading, **small))
    import snipbias.method.equations

    try:
        snipbias.method.equations.attribution(edit, edit)
    except Exception as error:
        print(type(error).__name__)
"""


def test_the_whole_job_respects_every_annotation():
    done = subprocess.run(
        [sys.executable, "-c", JOB],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "original" in done.stdout
    assert done.stdout.splitlines()[-1] == "TypeCheckError"  # the hook was there
