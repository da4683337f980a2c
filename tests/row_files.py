"""Files of rows, in a folder of the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROW: dict[str, Any] = {"question": "Who won?", "options": ["Ann", "Ben"], "gold": 1}


def jsonl(folder: Path, *rows: Any) -> Path:
    path = folder / "own.jsonl"
    # Not escaped: a U+2028 in a text must not end the line.
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(lines, encoding="utf-8")
    return path


def text_file(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path
