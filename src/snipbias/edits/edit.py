"""NeuronEdit: which neurons to scale and by how much; apply, bake, undo, save."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snipbias.base.errors import SnipbiasError
from snipbias.base.files import atomic_folder
from snipbias.base.hub import one_sentence
from snipbias.base.table import Grid, Shown
from snipbias.edits import algebra, sharing
from snipbias.edits.baking import Baked, bake
from snipbias.edits.card.card import model_card
from snipbias.edits.card.figures import Figures
from snipbias.edits.provenance import MadeOf, ModelId, same_weights
from snipbias.edits.pruning import scale_outputs, tensors
from snipbias.edits.record import EditRecord
from snipbias.models.places import Place, neuron_map
from snipbias.models.sites import module_by_name

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo
    from plotly.graph_objects import Figure

    from snipbias.models.language_model import LanguageModel


@dataclass(frozen=True, repr=False)
class NeuronEdit(EditRecord, Shown):
    """Neurons, the factors that their outputs are multiplied by, and where they come from.

    `EditRecord` lists its fields.
    """

    def __repr__(self) -> str:
        found = f", found on {self.found_on.task}" if self.found_on else ""
        here = f"{len(self)} of {self.model.neurons:,} neurons of {self.model.name}"
        return f"<NeuronEdit {self.label}: {here}{found}>"

    def _shown(self) -> Iterator[Grid]:
        rows = (
            (site, ", ".join(map(str, units)), ", ".join(f"{f:g}" for f in {*units.values()}))
            for site, units in self.factors.items()
        )
        yield Grid(f"{self!r}"[1:-1], ("site", "units", "factor"), tuple(rows))

    def _rows(self) -> Iterator[dict[str, Any]]:
        for (site, unit), factor in self.by_neuron.items():
            yield {"site": site, "unit": unit, "factor": factor}

    def plot(self) -> Figure:
        """Plot where its neurons sit, as far as their sites' names tell."""
        there = Counter(Place(*module_by_name(neuron.site)) for neuron in self.neurons)
        return neuron_map(there, self.label).drawn()

    # -- with other edits of the same model ----------------------------------------------------

    def __or__(self, other: NeuronEdit) -> NeuronEdit:
        return algebra.combined(algebra.UNION, self, other)

    def __and__(self, other: NeuronEdit) -> NeuronEdit:
        return algebra.combined(algebra.INTERSECTION, self, other)

    def __sub__(self, other: NeuronEdit) -> NeuronEdit:
        return algebra.combined(algebra.DIFFERENCE, self, other)

    def scaled(self, strength: float) -> NeuronEdit:
        """The edit at a strength: factor f becomes 1 + strength * (f - 1).

        0 changes nothing and 1 is the edit itself; 2 doubles the change, which flips the sign of a
        pruned neuron. At strength 0 the neurons stay listed.

        Raises:
            SnipbiasError: the strength is not a finite number.
        """
        if not math.isfinite(strength):
            raise SnipbiasError(f"the strength {strength} is not a finite number: give another.")
        # Written so that strength 1 returns the same factors, without rounding.
        factors = {
            site: {unit: strength * factor + (1 - strength) for unit, factor in units.items()}
            for site, units in self.factors.items()
        }
        label = f"({self.label})" if self.made_of else self.label
        part = MadeOf(self.label, self.fingerprint, f"scaled by {strength:g}")
        return replace(self, factors=factors, label=f"{strength:g} x {label}", made_of=(part,))

    # -- on a model --------------------------------------------------------------------------

    def check(self, lm: LanguageModel) -> None:
        """Refuse a model that the edit does not fit; warn if only the weights differ.

        Raises:
            SnipbiasError: the model lacks one of the edit's neurons.
        """
        here = ModelId.of(lm)
        widths = {site.name: site.width for site in lm.sites}
        for site, units in self.factors.items():
            if site not in widths or min(units) < 0 or max(units) >= widths[site]:
                raise SnipbiasError(
                    f"this edit was found on {self.model.name} ({self.model.architecture}, "
                    f"{self.model.neurons} neurons) and does not fit {here.name} "
                    f"({here.architecture}, {here.neurons} neurons), which has no {site} of that "
                    "width: use it on its own model."
                )
        if not same_weights(here.weights, self.model.weights):
            warnings.warn(
                f"the edit was found on other weights ({self.model.name}) than those of "
                f"{here.name}: its neurons may mean something else there.",
                stacklevel=3,
            )

    @contextmanager
    def applied(self, lm: LanguageModel) -> Iterator[None]:
        """Scale the neurons' outputs while inside; no weight is changed."""
        self.check(lm)
        hooks = (
            (site, partial(scale_outputs, *tensors(units))) for site, units in self.factors.items()
        )
        with lm.hooked(hooks, first=True):
            yield

    def bake(self, lm: LanguageModel) -> Baked:
        """Scale the rows of the weights and bias terms; call `undo` on the result to restore them.

        Raises:
            SnipbiasError: the edit does not fit, or a weight is quantised or not in memory.
        """
        self.check(lm)
        return bake(lm, self.factors)

    # -- on disk and on the hub ----------------------------------------------------------------

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write a folder with `edit.json`, completely or not at all."""
        with atomic_folder(folder, overwrite=overwrite) as new:
            self.write_into(new)
        return Path(folder)

    def write_into(self, folder: Path) -> None:
        """Write the files into an existing folder."""
        sharing.write(self.files(), folder)

    def save_pretrained(self, folder: str | Path, *, evaluation: str | Path | None = None) -> Path:
        """Write `edit.json` and a model card, README.md, into a folder, old or new.

        Other files there stay, and so does a README.md that was written by hand.

        Args:
            folder: where to write.
            evaluation: folder that `snipbias evaluate` wrote, for the figures on the card.

        Raises:
            SnipbiasError: that run has no figures of this edit, or a file cannot be written.
        """
        folder, files = Path(folder), self.files()
        figures = Figures.beside(self, folder, evaluation)
        if sharing.is_generated(folder):
            files |= sharing.card_files(self, folder, figures)
        sharing.write(files, folder)
        return folder

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        evaluation: str | Path | None = None,
        licence: str | None = None,
        folder: Path | None = None,
    ) -> CommitInfo:
        """Upload `edit.json` and a model card to a repository on the hub, creating it if needed.

        Args:
            repo_id: owner/name.
            private: make a new repository private; None leaves it to the hub's settings.
            token: token of the account; by default that of the login, or HF_TOKEN.
            commit_message: by default "Upload" and the label.
            revision: the branch to write to.
            create_pr: open a pull request instead.
            evaluation: folder that `snipbias evaluate` wrote, for the figures on the card.
            licence: licence of the edit; by default the base model's according to the hub.
            folder: where it was saved, with the record of the run that found it. A hand-written
                README.md there is uploaded as it is, and figures there are used if no evaluation
                is given.

        Raises:
            SnipbiasError: the hub cannot be reached, you may not write there, or the repository is
                public although `private` is asked for.
        """
        from huggingface_hub import CommitOperationAdd, HfApi

        figures = Figures.beside(self, folder, evaluation)
        api = HfApi(token=token)
        with one_sentence(f"cannot push to {repo_id}", sharing.FILE):
            repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            if private and not api.model_info(repo).private:
                raise SnipbiasError(
                    f"{repo} exists already and is public, so nothing was uploaded: make it "
                    "private in its settings on the hub, or push without private."
                )
            shared = sharing.portable(self)
            if folder is not None and not sharing.is_generated(folder):
                card = (folder / sharing.CARD_FILE).read_text(encoding="utf-8")
            else:
                card = model_card(
                    shared,
                    figures=figures,
                    record=sharing.record_of(self, folder) if folder else None,
                    place=repo,
                    licence=licence,
                    base_licence=sharing.licence_of_base(api, shared),
                )
            files = sharing.with_card(shared, card, figures)
            return api.create_commit(
                repo,
                [CommitOperationAdd(name, content) for name, content in files.items()],
                commit_message=commit_message or f"Upload {self.label}",
                revision=revision,
                create_pr=create_pr,
            )

    @classmethod
    def from_pretrained(
        cls,
        place: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
    ) -> NeuronEdit:
        """Read an edit from a local folder (or its `edit.json`), else from the hub.

        Args:
            place: a local folder or file; if there is none, `owner/name` or `owner/name@revision`
                on the hub.
            revision: branch, tag or commit of the repository.
            token: for a private repository.
            cache_dir: instead of the hub's usual cache.

        Raises:
            SnipbiasError: there is no such edit, it is damaged, or it is not available offline.
        """
        path = sharing.locate(place, revision=revision, token=token, cache_dir=cache_dir)
        return cls.read(path)

    @classmethod
    def load(cls, place: str | Path) -> NeuronEdit:
        """`from_pretrained` without its options."""
        return cls.from_pretrained(place)
