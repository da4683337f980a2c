"""Render a report as one HTML page that loads nothing: style, scripts and plotly are inlined."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.resources import files as resources

from snipbias.base.errors import SnipbiasError
from snipbias.base.plot import COLOURS
from snipbias.base.table import percent
from snipbias.base.version import __version__
from snipbias.evaluation.glossary import explained
from snipbias.report.page import Part

WIDE = 40  # characters beyond which a cell is text to be wrapped and not a figure


def page(parts: Sequence[Part], title: str) -> str:
    """The whole page.

    Raises:
        SnipbiasError: plotly or Jinja2 is missing.
    """
    try:
        import jinja2
        from markupsafe import Markup
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise SnipbiasError(
            f'{error.name} is missing: install it with pip install "snipbias[report]".'
        ) from None
    given: Counter[str] = Counter()

    def unique(name: str) -> str:
        """An id that no two elements share, although two sections may have the same name."""
        given[name] += 1
        return name if given[name] == 1 else f"{name}-{given[name]}"

    static = resources("snipbias") / "report" / "static"
    template, style, script = (
        (static / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    style = _colours() + style
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    as_json = partial(json.dumps, indent=1, ensure_ascii=False, default=str)
    environment.filters |= {
        "percent": percent,
        "points": partial(percent, sign=True),
        "wide": lambda cell: len(cell) > WIDE,
        "seconds": lambda s: f"{s:.0f} s" if s < 120 else f"{s / 60:.0f} min",
        "command": lambda argv: shlex.join(["snipbias", *argv]),
        "recorded": lambda part: as_json(asdict(part.record)),
        "explained": explained,
    }
    plots = [plot for part in parts for section in part.sections for plot in section.plots]
    scripts = [get_plotlyjs(), script] if plots else [script]
    return environment.from_string(template).render(
        title=title,
        parts=parts,
        several=len(parts) > 1,
        shown=[(s, part) for part in parts for s in part.sections if s.lines],
        findings=[(f, part) for part in parts for s in part.sections for f in s.findings],
        warnings=[(s.warning, part) for part in parts for s in part.sections if s.warning],
        version=__version__,
        figures=jinja2.utils.htmlsafe_json_dumps({plot.name: plot.figure for plot in plots}),
        policy=_policy(scripts),
        style=Markup(style),  # trusted, as the scripts are; everything else is escaped
        scripts=list(map(Markup, scripts)),
        ids=unique,
    )


def _colours() -> str:
    light, dark = (
        "".join(f"--{name}:{each[scheme]};" for name, each in COLOURS.items()) for scheme in (0, 1)
    )
    return f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _policy(scripts: Sequence[str]) -> str:
    """A content security policy: these scripts and no other, and nothing from anywhere."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
