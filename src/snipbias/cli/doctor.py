"""The command `doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from snipbias.cli import options as o
from snipbias.cli.run import show

# The module that shows whether an extra is installed.
EXTRAS = {
    **{name: name for name in ("gguf", "peft", "accelerate", "datasets")},
    **{"report": "plotly", "play": "nicegui", "lm-eval": "lm_eval", "trackio": "trackio"},
}


class Doctor(o.Command):
    """Show what this machine has: versions, devices and number types, caches, data, extras.

    Nothing is downloaded and no model is loaded. Add the output to a bug report.
    """

    examples = ("snipbias doctor", "snipbias doctor --json")
    as_json: bool = o.JSON

    def __call__(self) -> None:
        from rich.table import Column, Table
        from rich.text import Text

        found = examine()
        columns = Column(style="bold", no_wrap=True), Column(overflow="fold")
        table = Table(*columns, box=None, show_header=False, pad_edge=False)
        for name, value in found.items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            said = "\n".join(f"{key} {part}".strip() for key, part in parts)
            table.add_row(name, Text(said or "-"))
        show(self, found, table)


def examine() -> dict[str, Any]:
    """Every finding, by name."""
    import torch

    from snipbias.base.hub import cache_dir, offline
    from snipbias.base.machine import machine, package_versions
    from snipbias.models.batching import FASTEST

    def there(place: str | Path) -> str:
        path = Path(place)
        return str(path) if path.is_dir() else f"{path} (does not exist yet)"

    devices = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    data = os.environ.get("SNIPBIAS_DATA_DIR")
    return {
        "versions": package_versions(),
        "machine": {key: value for key, value in machine().items() if key != "cuda"},
        "devices": {name: ", ".join(_types(name)) for name in devices},
        "tokens per pass": FASTEST,
        "offline": f"yes, by {switch}" if (switch := offline()) else "no",
        "folders": {
            "cache": there(cache_dir()),
            "hub": there(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"),
            "data": there(data) if data else "not set (SNIPBIAS_DATA_DIR)",
        },
        "extras": {
            name: "yes" if find_spec(module) else f"no: pip install snipbias[{name}]"
            for name, module in EXTRAS.items()
        },
    }


def _types(device: str) -> Iterator[str]:
    """The number types in which a device can multiply matrices."""
    import torch

    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        try:
            part = torch.ones(2, 2, dtype=dtype, device=device)
            (part @ part).cpu()
        except (RuntimeError, TypeError):
            continue
        yield str(dtype).removeprefix("torch.")
