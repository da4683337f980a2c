"""snipbias: find the few neurons that bias a language model, prune them, prove what changed.

The public names are listed in `__init__.pyi`; they are imported when first used, so that importing
snipbias loads neither torch nor transformers.
"""

import sys

import lazy_loader

from snipbias._moved import MovedModules
from snipbias.base.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

sys.meta_path.append(MovedModules())  # type: ignore[arg-type]
