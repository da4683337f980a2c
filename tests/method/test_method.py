"""The equations, by numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snipbias.base.errors import SnipbiasError
from snipbias.method import equations as crispr
from snipbias.method.attribute import crispr_plan
from snipbias.method.equations import Method
from snipbias.method.plan import BackwardPlan
from snipbias.models.scoring import Scored

INF = float("inf")
numbers = st.floats(-10, 10, width=32)
matrices = st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=5)


def tensor(*values: object) -> torch.Tensor:
    return torch.tensor(values)


def test_eq_1_is_activation_times_gradient():
    h, grad = tensor([[2.0, -1.0], [0.0, 3.0]]), tensor([[0.5, 4.0], [7.0, -2.0]])
    expected = tensor([[1.0, -4.0], [0.0, -6.0]])
    assert torch.equal(crispr.attribution(h, grad), expected)


def test_eq_1_is_wide_where_the_model_is_not():
    h = torch.full((1, 1, 1), 60_000.0, dtype=torch.float16)
    product = crispr.attribution(h, h)
    assert product.dtype == torch.float32
    assert product.item() == pytest.approx(60_000.0**2, rel=1e-3)


def test_eq_2_subtracts_the_gold_attribution_where_it_is_positive():
    wrong, gold = tensor([[3.0, 3.0, -1.0]]), tensor([[1.0, -2.0, 0.5]])
    v1 = crispr.bias_attribution(wrong, gold, skill=1.0, clamp=True)
    assert torch.equal(v1, tensor([[2.0, 3.0, -1.5]]))
    ablation = crispr.bias_attribution(wrong, gold, skill=0.5, clamp=False)
    assert torch.equal(ablation, tensor([[2.5, 4.0, -1.25]]))


def test_eq_3_takes_the_likeliest_wrong_option():
    logprobs = tensor([-1.0, -3.0, -2.0], [-5.0, -0.1, -4.0], [-2.0, -9.0, -INF])
    assert crispr.most_confusing(logprobs, torch.tensor([0, 1, 0])).tolist() == [2, 2, 1]


@given(matrices, st.data())
def test_eq_3_never_takes_the_gold_option(rows, data):
    gold = [data.draw(st.integers(0, 2)) for _ in rows]
    wrong = crispr.most_confusing(torch.tensor(rows), torch.tensor(gold)).tolist()
    for row, right, chosen in zip(rows, gold, wrong, strict=True):
        assert chosen != right
        assert row[chosen] == max(p for c, p in enumerate(row) if c != right)


def test_eq_4_takes_the_maximum_over_tokens_then_the_means():
    bias = tensor([[1.0, -2.0], [5.0, -1.0], [3.0, -4.0]])[0][None]
    real = torch.ones(1, 3, dtype=torch.bool)
    assert crispr.reduce_tokens(bias, real, "max").tolist() == [[5.0, -1.0]]
    sums = torch.tensor([[6.0, 2.0], [1.0, 8.0]], dtype=torch.float64)  # of 3 and of 1 instances
    counts = torch.tensor([3, 1])
    assert crispr.over_instructions(sums, counts, "mean").tolist() == pytest.approx(
        [(2.0 + 1.0) / 2, (2 / 3 + 8.0) / 2]
    )
    assert crispr.over_instructions(sums, counts, "max").tolist() == [2.0, 8.0]


WRONG = tensor([[3.0, -1.0], [1.0, -2.0]])  # two tokens of yhat, two neurons
GOLD = tensor([[-1.0, 2.0], [-4.0, 5.0]])


def plan(method: Method, answer: torch.Tensor) -> BackwardPlan:
    """The plan of P(yhat) = 1/4 and P(y) = 1/2, whose options have the answer's tokens."""
    scored = Scored(
        logprobs=tensor([0.5, 0.25]).log(),
        rows=torch.tensor([[0, 1]]),
        prefix_mask=torch.ones(1, 2, dtype=torch.bool),
        options_mask=answer,
    )
    return crispr_plan(scored, torch.tensor([0]), method)


def test_the_second_version_as_coded_takes_the_maximum_of_each_term():
    real = torch.ones(1, 2, dtype=torch.bool)
    expected = {
        # max (3, 1) - max(max (-1, -4), 0) = 3 and max (-1, -2) - max (2, 5) = -6, times 1/4.
        "v2 as coded": (Method.v2_as_coded(), [3 / 4, -6 / 4]),
        # Each token: (3 - 0, 1 - 0) and (-1 - 2, -2 - 5).
        "as the text has it, of log P": (Method.v2(target="logprob"), [3 / 4, -3 / 4]),
        # A(yhat) and A(y) have factors 1/4 and 1/2 of their own: 3/4 - 0, -1/4 - 2/2.
        "as the text has it": (Method.v2(), [3 / 16, -5 / 16]),
    }
    for method, result in expected.values():
        how = plan(method, torch.zeros(2, 0, dtype=torch.bool))
        # The terms come with their shares of the larger probability, as the passes give them.
        gold, wrong = (t * share for t, share in zip((GOLD, WRONG), _shares(how), strict=True))
        scores = how.score([(track, real) for track in how.tracks([gold, wrong])]) * how.factor
        assert scores[0].tolist() == pytest.approx(result)


def _shares(how: BackwardPlan) -> list[float]:
    """What the objectives log P(y) and log P(yhat) were multiplied by."""
    logs = (math.log(0.5), math.log(0.25))
    return [each.value.item() / log for each, log in zip(how.objectives, logs, strict=True)]


def test_which_tokens_of_the_answer_count():
    answer = torch.tensor([[1, 1, 1], [1, 0, 0]], dtype=torch.bool)  # of y three, of yhat one
    both, own, none = [True] * 3, [True, False, False], [False] * 3
    for method, expected in [
        (Method.v1(), [own]),
        (Method.v1(tokens="quantile"), [own]),
        (Method.v1(tokens="sum"), [both]),
        (Method.v1(tokens="mean"), [both]),
        (Method.v1(tokens="prompt"), [none]),
        (Method.v1(tokens="last"), [none]),
        (Method.v2_as_coded(), [both, own]),
        (Method.v2_as_coded(tokens="prompt"), [none, none]),
    ]:
        how = plan(method, answer)
        scored = Scored(tensor([0.5, 0.25]), torch.tensor([[0, 1]]), answer[:1], answer)
        assert [mask[0].tolist() for mask in how.real_answer(scored, whole=False)] == expected, (
            method
        )


def test_an_option_behind_a_prompt_of_its_own_counts_the_prompt():
    prompt = torch.tensor([[1, 1, 0, 0]], dtype=torch.bool)
    read = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]], dtype=torch.bool)
    scored = Scored(tensor([0.5, 0.25]), torch.tensor([[0, 1]]), prompt, read)
    for tokens, expected in (("prompt", [1, 1, 0, 0]), ("last", [0, 1, 0, 0]), ("max", [1] * 4)):
        (mask,) = plan(Method.v1(tokens=tokens), read).real_answer(scored, whole=True)
        assert mask[0].tolist() == expected


def test_the_biased_option_by_hand_unless_it_is_the_right_one():
    logprobs = tensor([-1.0, -3.0, -2.0], [-5.0, -0.1, -4.0])
    gold, biased = torch.tensor([0, 2]), torch.tensor([1, 2])
    assert crispr.given_biased(logprobs, gold, biased).tolist() == [1, 1]


def test_a_method_is_named_after_the_nearest_version():
    for method, name in [
        (Method(), "v1"),
        (Method.v2(), "v2"),
        (Method.v2_as_coded(), "v2 as coded"),
        (Method.v1(target="logprob"), "v1 target=logprob"),
        (Method.v2(tokens="mean"), "v2 tokens=mean"),
        (Method.v2_as_coded(tokens="prompt"), "v2 as coded tokens=prompt"),
        (Method.v1(biased="manual"), "v1 biased=manual"),
    ]:
        assert method.name == name


def test_an_instruction_without_instances_does_not_count():
    sums = torch.tensor([[6.0], [0.0]], dtype=torch.float64)
    assert crispr.over_instructions(sums, torch.tensor([3, 0]), "mean").tolist() == [2.0]
    assert crispr.over_instructions(-sums, torch.tensor([3, 0]), "max").tolist() == [-2.0]


@pytest.mark.parametrize(
    ("how", "expected"), [("max", -1.0), ("sum", -3.0), ("mean", -1.5), ("quantile", -2.0)]
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_beat_a_neuron_that_is_negative_everywhere(how, expected, side):
    values, mask = [-1.0, -2.0, 9.0, 0.0], [True, True, False, False]
    if side == "left":
        values, mask = values[::-1], mask[::-1]
    reduced = crispr.reduce_tokens(torch.tensor(values)[None, :, None], torch.tensor([mask]), how)
    assert reduced.item() == expected


def test_the_quantile_is_the_tokens_nine_tenths_of_the_way_up():
    values = torch.tensor([5.0, 1.0, 9.0, 2.0, 8.0, 3.0, 7.0, 4.0, 6.0, 0.0, 100.0, -1.0])
    real = torch.arange(12) < 11
    reduced = crispr.reduce_tokens(values[None, :, None], real[None], "quantile")
    assert reduced.item() == 9.0  # of 0 ... 9 and 100: the massive one does not decide


@pytest.mark.parametrize(
    ("real", "last"),
    [([1, 1, 0], [0, 1, 0]), ([0, 1, 1], [0, 0, 1]), ([1, 0, 0], [1, 0, 0])],
)
def test_the_last_token_is_before_the_padding_on_either_side(real, last):
    marked = crispr.last_token(torch.tensor([real], dtype=torch.bool))
    assert marked.long().tolist() == [last]


def test_ranks_go_from_0_to_1_in_each_instance():
    assert crispr.ranks(torch.tensor([[3.0, -1.0, 7.0], [0.0, 0.5, 0.25]])).tolist() == [
        [0.5, 0.0, 1.0],
        [0.0, 1.0, 0.5],
    ]


@given(st.floats(-700, 0), st.floats(-700, 0))
def test_attributions_of_long_options_do_not_underflow(logp_wrong, logp_gold):
    """P of -500 is 0 in float32; the factors' product is P still, and none is out of range."""
    scale, wrong, gold = crispr.targets_scale(
        torch.tensor([logp_wrong], dtype=torch.float64),
        torch.tensor([logp_gold], dtype=torch.float64),
        "prob",
    )
    assert (scale * wrong).item() == pytest.approx(math.exp(logp_wrong), rel=1e-9, abs=0)
    assert (scale * gold).item() == pytest.approx(math.exp(logp_gold), rel=1e-9, abs=0)
    assert max(wrong.float().item(), gold.float().item()) == 1.0


def test_scale_of_two_long_options_keeps_their_ratio():
    scale, wrong, gold = crispr.targets_scale(tensor(-500.0), tensor(-501.0), "prob")
    assert scale.item() == pytest.approx(math.exp(-500.0))
    assert (wrong.item(), gold.item()) == pytest.approx((1.0, math.exp(-1.0)))


def test_log_probabilities_are_attributed_as_they_are():
    ones = crispr.targets_scale(tensor(-500.0), tensor(-1.0), "logprob")
    assert [factor.item() for factor in ones] == [1.0, 1.0, 1.0]


def test_confusion_is_the_probability_of_the_biased_option():
    logp = tensor(math.log(0.25), -500.0)
    assert crispr.instance_weight(logp, "none").tolist() == [1.0, 1.0]
    assert crispr.instance_weight(logp, "confusion").tolist() == pytest.approx(
        [0.25, math.exp(-500.0)], rel=1e-6, abs=0
    )


def test_versions_differ_in_the_confusion_weight_only():
    v1, v2 = Method.v1().to_dict(), Method.v2().to_dict()
    assert v1 == {**v2, "weight": "none"}
    assert v1 == {
        "target": "prob",
        "biased": "automatic",
        "tokens": "max",
        "terms": "together",
        "skill": 1.0,
        "clamp": True,
        "weight": "none",
        "instances": "mean",
        "instructions": "mean",
    }
    assert Method(**Method.v2(tokens="mean").to_dict()) == Method.v2(tokens="mean")


@pytest.mark.parametrize(
    "field", ["target", "biased", "tokens", "terms", "weight", "instances", "instructions"]
)
def test_a_misspelt_choice_is_refused_with_the_choices(field):
    with pytest.raises(SnipbiasError, match=f"{field} = 'maxx': choose "):
        Method.v1(**{field: "maxx"})


@pytest.mark.parametrize("skill", [float("nan"), float("inf"), "1", None])
def test_a_skill_weight_is_a_finite_number(skill):
    with pytest.raises(SnipbiasError, match="skill"):
        Method.v1(skill=skill)
