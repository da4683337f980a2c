"""Settings that determine the results of an experiment, and the presets."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args

from snipbias.base.errors import SnipbiasError
from snipbias.base.words import ORIGINAL, did_you_mean
from snipbias.method.recipes import RECIPES, Objective, is_recipe, recipe

OBJECTIVES = get_args(Objective)
CONTROLS = ("random", "layer-matched random")
# Rivals that prune no neuron. Those of the scores alone depend on no draw of items.
STEERING = "steering"
SCORES_ALONE = (
    *("CC", "DC", "batch calibration", "permutation averaging", "less no context"),
    *("offset", "offset by wording", "always unknown"),
)
NO_WEIGHT = "v2 no weight"  # which is v1
ABLATIONS = ("v2 mean over tokens", NO_WEIGHT, "v2 no skill term")
# Other people's methods, from their papers; those that only ask otherwise depend on no draw either.
PROMPTED = ("unknown is allowed", "self-help", "chain of thought")
PUBLISHED = ("know-bias", "UniBias", "FairSteer", *PROMPTED, "LoRA", "(IA)3")
# The experimental edit of `baselines.conditional`; it depends on no draw of items.
CONDITIONAL = "conditional edit"
# Trained factors, and what they are compared with; see `method.learned`.
LEARNED = ("learned", "learned random", "grafting", "first order", "learned LoRA")
ONCE = (ORIGINAL, CONDITIONAL, *SCORES_ALONE, *PROMPTED)
# What a preset's own method is compared with, in the order of the tables.
RIVALS = (
    *("v1", "v2", "v2 as coded", "manual biased", "snipbias", "A(yhat)", "skill neurons"),
    *("gap", "integrated gap", "magnitude", *CONTROLS, STEERING, *SCORES_ALONE),
)
COUNTS = (
    *("samples", "trials", "draws", "layers", "steps"),
    *("instructions", "items", "dev_items", "retention_items", "retention_instructions"),
)
KNOWN = tuple(
    dict.fromkeys((ORIGINAL, *RIVALS, *PUBLISHED, *LEARNED, CONDITIONAL, *ABLATIONS, *RECIPES))
)


@dataclass(frozen=True)
class Settings:
    """Settings that decide the results of an experiment; batch size and device are not among them.

    Attributes:
        preset: name of the preset that these settings began as.
        method: the preset's own method, one of the recipes; random controls take its number of
            neurons.
        methods: every method that is run, in the order of the tables; the original and the
            preset's own are added where they are not among them.
        tasks: names of the tasks.
        instructions: use only this many of each task's instructions; None: all.
        prompt: the template that all tasks are asked in, as `prompt_template` takes it; None: each
            task's own.
        prompts: other templates that the original and the method's edits are also evaluated under.
        samples: items drawn for one trial; trial t draws with seed + t.
        draws: draws of each kind of random control, in every trial.
        sizes: numbers of neurons tried first on the development part.
        refine: rounds in which the grid is refined around the best size.
        objective: what is maximised on the development part: overall accuracy (the paper), the
            harmonic mean of ambiguous and disambiguated accuracy (balanced), or ambiguous accuracy
            where disambiguated accuracy and retention fall by at most `margin` (no-harm).
        items: test at most this many items of a task; None: all.
        control_rows: also ask the filler and mismatch rows of the tested ones.
        dev_items: choose settings on at most this many items.
        texts: number of neutral passages for perplexity and KL divergence, and number of answers to
            requests for their KL; 0 leaves both out.
        retention: tasks that must not get worse, asked under their first instructions.
        elsewhere: items of each small task that shows side effects elsewhere; 0: none.
        layers: how many layers a steering vector is tried at, spread evenly over the model.
        strengths: factors on the steering vector that are tried.
        steps: training steps of learned factors.
        transfer: also evaluate each of the method's edits on the other tasks.
        sample_sizes: other numbers of samples to find the method's neurons on.
    """

    preset: str = "v1"
    method: str = "v1"
    methods: tuple[str, ...] = (ORIGINAL, *RIVALS)
    tasks: tuple[str, ...] = ()
    instructions: int | None = None
    prompt: str | None = None
    prompts: tuple[str, ...] = ("paper", "letters")
    samples: int = 10
    trials: int = 3
    draws: int = 5
    seed: int = 0
    sizes: tuple[int, ...] = (1, 3, 10, 30, 100, 300)
    refine: int = 2
    objective: Objective = "overall"
    margin: float = 0.02
    items: int | None = None
    control_rows: bool = True
    dev_items: int | None = None
    texts: int = 12
    retention: tuple[str, ...] = ("mini:skills",)
    retention_items: int | None = 96
    retention_instructions: int | None = 1
    elsewhere: int = 24
    layers: int = 4
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    steps: int = 60
    transfer: bool = False
    sample_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for field in fields(self):  # JSON has no tuples
            if isinstance(value := getattr(self, field.name), list):
                object.__setattr__(self, field.name, tuple(value))
        # Everything is compared with these two.
        first = [name for name in (ORIGINAL, self.method) if name not in self.methods]
        object.__setattr__(self, "methods", (*first, *self.methods))
        if (fault := next(_faults(self), None)) is not None:
            raise SnipbiasError(f"{fault}.")

    def to_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Settings:
        """The settings of a JSON form.

        Raises:
            SnipbiasError: a name or a value is unknown.
        """
        known = [field.name for field in fields(cls)]
        if unknown := set(data) - set(known):
            raise SnipbiasError(f"there is no setting {min(unknown)!r}: use {', '.join(known)}.")
        return cls(**data)


def _faults(of: Settings) -> Iterator[str]:
    """What is unknown, contradicts itself or cannot be run, each in a sentence."""
    for name in (*of.methods, of.method):
        if name not in KNOWN and not is_recipe(name):
            yield f"there is no method {name!r}{did_you_mean(name, KNOWN)}: use {', '.join(KNOWN)}"
    if not is_recipe(of.method):
        known = ", ".join(RECIPES)
        yield f"{of.method!r} finds no neurons that random controls could match: use {known}"
    elif recipe(of.method).at_mean:
        yield (
            f"{of.method!r} holds neurons at their mean, for which there is no random control: "
            "choose another method, and add this one to the methods"
        )
    for name in ("methods", "tasks", "retention"):
        values = getattr(of, name)
        if len(set(values)) < len(values):
            yield f"one of the {name} appears twice: {', '.join(values)}"
    smallest = {"sizes": min(of.sizes, default=0), "sample_sizes": min(of.sample_sizes, default=1)}
    counts = {**{name: getattr(of, name) for name in COUNTS}, **smallest}
    for name, value in {**counts, "strengths": len(of.strengths)}.items():
        if value is not None and value < 1:
            yield f"the setting {name} needs at least 1: it is {value}"
    for name in ("refine", "texts", "elsewhere"):
        if (value := getattr(of, name)) < 0:
            yield f"the setting {name} is {value}: give 0 or more"
    if of.objective not in OBJECTIVES:
        yield f"there is no objective {of.objective!r}: use {', '.join(OBJECTIVES)}"
    if not 0 <= of.margin < 1:
        yield f"the margin must be a share below 1, not {of.margin}: give 0.02 for two points"
    if not all(map(math.isfinite, of.strengths)):
        yield "one of the strengths is not a finite number: give another"
    if of.samples in of.sample_sizes:
        yield (
            f"the experiment itself has {of.samples} samples: leave them out of the sample sizes"
        )


PRESETS: dict[str, Settings] = {
    "v1": Settings(),
    "v2": Settings(
        preset="v2",
        method="v2",
        methods=(ORIGINAL, "v2", *(name for name in RIVALS if name != "v2"), *ABLATIONS),
        samples=20,
        transfer=True,
        sample_sizes=(5, 10),
    ),
    "snipbias": Settings(
        preset="snipbias",
        method="snipbias",
        methods=(ORIGINAL, "snipbias", *(name for name in RIVALS if name != "snipbias")),
        samples=20,
    ),
    # Methods of several papers compared on few rows: docs/referee.md.
    "referee": Settings(
        preset="referee",
        methods=(ORIGINAL, "v1", "snipbias", *LEARNED, *CONTROLS, STEERING, *PUBLISHED, "offset"),
        tasks=("mini:age", "mini:ses", "mini:disability"),
        instructions=2,
        prompts=(),
        draws=1,
        trials=1,
        sizes=(3, 10, 30),
        refine=0,
        objective="no-harm",
        items=48,
        dev_items=24,
        texts=2,
        retention_items=24,
        elsewhere=16,
        layers=3,
        strengths=(1.0, 2.0, 4.0),
    ),
    # Under three minutes on one core with the model that comes with the package.
    "demo": Settings(
        preset="demo",
        methods=(ORIGINAL, "v1", *CONTROLS, "offset", "offset by wording", "always unknown"),
        tasks=("mini:age", "mini:ses", "mini:disability"),
        instructions=2,
        draws=1,
        sizes=(3, 10, 30),
        refine=0,
        items=96,
        dev_items=48,
        texts=4,
        retention_items=48,
        elsewhere=12,
    ),
}


def preset(name: str, **changes: Any) -> Settings:
    """The settings of a preset, with single deviations given by name.

    Raises:
        SnipbiasError: there is no such preset, or a value is out of range.
    """
    if name not in PRESETS:
        near = did_you_mean(name, PRESETS)
        raise SnipbiasError(f"there is no preset {name!r}{near}: use {', '.join(PRESETS)}.")
    return replace(PRESETS[name], **changes)
