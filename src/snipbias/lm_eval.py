"""`python -m snipbias.lm_eval`: the command line of lm_eval, which then knows our model too.

It takes lm_eval's own words. Versions of lm_eval that look for plugins find the model `snipbias` by
themselves; for earlier ones somebody has to import it.
"""

from __future__ import annotations

import sys

from snipbias.base.errors import SnipbiasError
from snipbias.evaluation.harness import library


def main() -> None:
    """Register the model and hand over; an error that a user can fix is one sentence.

    Raises:
        SystemExit: lm-eval is not installed.
    """
    try:
        library("snipbias.evaluation.edited_lm")
        library("lm_eval.__main__").cli_evaluate()
    except SnipbiasError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
