"""Which modules of a model are sites: linear layers whose output units are the neurons.

A neuron is one output unit of one linear layer of self-attention, cross-attention or FFN (paper,
section 3.5), but not of embeddings or the language-model head. Families name and fuse their layers
differently; only this file knows how.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from torch import nn
from transformers import PretrainedConfig
from transformers.pytorch_utils import Conv1D

from snipbias.base.errors import SnipbiasError

if TYPE_CHECKING:  # loading it takes two seconds, which `snipbias show` has no need of
    from transformers import PreTrainedModel

Side = Literal["encoder", "decoder"]
Block = Literal["self-attention", "cross-attention", "ffn"]
Linear = nn.Linear | Conv1D

ROLES = {
    "q": ("q", "q_proj", "query", "q_attn", "q_a_proj", "q_b_proj"),
    "k": ("k", "k_proj", "key"),
    "v": ("v", "v_proj", "value"),
    "kv": (),  # latents that both keys and values are made from (DeepSeek)
    # Gemma 3n and 4 gate per-layer embeddings, and 3n has a low-rank branch (LAuReL).
    "gate": ("wi_0", "gate_proj", "per_layer_input_gate", "in_proj_z", "g_proj"),
    "up": ("wi", "wi_1", "up_proj", "fc1", "c_fc", "dense_h_to_4h", "fc_in", "linear_left"),
    "down": ("wo", "down_proj", "fc2", "c_proj", "dense_4h_to_h", "fc_out", "linear_right"),
}
ROLES["down"] += ("per_layer_projection",)
# Latent attention (DeepSeek V2, MiniCPM3): keys and values are made from a few shared units.
LATENT, FROM_LATENT = "kv_a_proj_with_mqa", "kv_b_proj"
ATTENTION_OUTPUTS = ("o", "o_proj", "out_proj", "c_proj", "dense")
FUSED_QKV = ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "in_proj_qkv")
INTERLEAVED = ("bloom", "falcon", "gpt_bigcode", "gpt_neox", "gpt_neox_japanese", "persimmon")
# Layers without neurons: those of other senses, and those whose outputs are weights of a sum, not
# activations: of AltUp's streams (Gemma 3n), of what linear attention forgets and writes (Qwen3.5).
_OTHER = r"vision|visual|image|audio|\.\d+\.altup|linear_attn\.(in_proj_)?[ab](_proj)?$"


class Neuron(NamedTuple):
    """One output unit of one site."""

    site: str
    unit: int


@dataclass(frozen=True)
class Site:
    """A linear layer inside a transformer block.

    Attributes:
        name: the module's dotted path in the Hugging Face model.
        width: number of output units, the neurons.
        side: which stack it belongs to; decoder-only models have only a decoder.
        layer: number of its transformer block within that stack.
        block: self-attention, cross-attention or ffn.
        layout: roles of the units in order, as (role, count), repeated up to the width: a fused
            layer has several roles (q, k, v or gate, up), a plain one has one.
    """

    name: str
    width: int
    side: Side
    layer: int
    block: Block
    layout: tuple[tuple[str, int], ...]

    def role(self, unit: int) -> str:
        """The role of one unit: q, k, v, o, gate, up or down."""
        unit %= sum(count for _, count in self.layout)
        for role, count in self.layout:
            if unit < count:
                return role
            unit -= count
        raise AssertionError("the layout covers every unit")

    @property
    def sees_prompt(self) -> bool:
        """Whether this site of an encoder-decoder reads the prompt's tokens, not the answer's."""
        is_cross_input = self.block == "cross-attention" and self.layout[0][0] in ("k", "v")
        return self.side == "encoder" or is_cross_input


def find_sites(model: PreTrainedModel) -> tuple[Site, ...]:
    """Every site of the model, in the order of its modules.

    Raises:
        SnipbiasError: the architecture has layers whose outputs are not neurons in this sense, or
            are not known to be.
    """
    _refuse_unsupported(model)
    kind = type(model).__name__
    found = []
    blocks: dict[str, set[Block]] = {}
    for name, module in model.named_modules():
        layer = re.search(r"\.(\d+)\.", name)
        if not (layer and isinstance(module, Linear)) or re.search(_OTHER, name):
            continue
        block, units = _block(name), width(module)
        layout = _layout(model, name.rsplit(".", 1)[-1], block, units)
        if {role for role, _ in layout} - {*ROLES, "o"}:
            raise SnipbiasError(
                f"{kind} is not supported: the role of its layer {name} in attention or FFN is "
                "not known (models/sites.py lists the known ones)."
            )
        if block == "cross-attention" and not model.config.is_encoder_decoder:
            raise SnipbiasError(
                f"{kind} is a decoder with cross-attention ({name}) but no encoder to attend to: "
                "load the whole encoder-decoder."
            )
        is_encoder = model.config.is_encoder_decoder and _in_encoder(name)
        side: Side = "encoder" if is_encoder else "decoder"
        number = int(layer[1])
        found.append(Site(name, units, side, number, block, layout))
        blocks.setdefault(f"{side} layer {number}", set()).add(block)
    for where, kinds in (blocks or {"it": set()}).items():
        if not {"self-attention", "ffn"} <= kinds:
            raise SnipbiasError(
                f"{kind} cannot be edited: {where} does not have linear layers in both "
                "self-attention and FFN, and neurons of other layers are not defined."
            )
    return tuple(found)


def width(module: Linear) -> int:
    """Number of output units of a linear layer."""
    return module.nf if isinstance(module, Conv1D) else module.out_features


def unit_dim(module: Linear) -> int:
    """The dimension of `module.weight` that runs over output units: 1 for Conv1D, else 0."""
    return 1 if isinstance(module, Conv1D) else 0


def module_by_name(site: str) -> tuple[Side, int, str]:
    """Stack, layer, and block with role, as far as a site's name tells without the model.

    A fused layer has all its roles, as in `self-attention q/k/v`.
    """
    layer, leaf, block = re.search(r"\.(\d+)\.", site), site.rsplit(".", 1)[-1], _block(site)
    fused = {**dict.fromkeys(FUSED_QKV, "q/k/v"), "gate_up_proj": "gate/up"}
    role = fused.get(leaf) or _role(leaf, block)
    side: Side = "encoder" if _in_encoder(site) else "decoder"
    return side, int(layer.group(1)) if layer else 0, f"{block} {role}"


def _refuse_unsupported(model: PreTrainedModel) -> None:
    kind = type(model).__name__
    for name, module in model.named_modules():
        if type(module).__module__.startswith("peft."):
            raise SnipbiasError(
                f"{kind} carries a PEFT adapter: merge_and_unload() it first, or give the base "
                "model."
            )
        if re.search(r"expert|\brouter\b", name, re.IGNORECASE):
            raise SnipbiasError(
                f"{kind} is not supported: it is a mixture of experts ({name}), and a neuron's "
                "output is not defined at tokens that are routed past it."
            )
        if re.search(r"mamba|ssm|rwkv|recurrent", name, re.IGNORECASE):
            raise SnipbiasError(
                f"{kind} is not supported: it has recurrent layers ({name}), and neurons outside "
                "attention and FFN are not defined."
            )


def _in_encoder(name: str) -> bool:
    return re.match(r"(model\.)?(text_)?encoder\.", name) is not None


def _block(name: str) -> Block:
    if re.search(r"cross_?att|encoder_attn|EncDecAttention", name):
        return "cross-attention"
    if re.search(r"attn|attention", name, re.IGNORECASE):
        return "self-attention"
    return "ffn"


def _layout(
    model: PreTrainedModel, leaf: str, block: Block, units: int
) -> tuple[tuple[str, int], ...]:
    if leaf in FUSED_QKV:
        return _fused_qkv(model, leaf, units)
    if leaf == "gate_up_proj":
        return (("gate", units // 2), ("up", units // 2))
    if leaf in (LATENT, FROM_LATENT):
        config = model.config.get_text_config()
        if leaf == LATENT:
            shared = config.kv_lora_rank
            return (("kv", shared), ("k", units - shared))
        return (("k", config.qk_nope_head_dim), ("v", config.v_head_dim))  # head by head
    return ((_role(leaf, block), units),)


def _role(leaf: str, block: Block) -> str:
    """The role of all units of a plain layer; its own name if the role is unknown."""
    if block != "ffn" and leaf in ATTENTION_OUTPUTS:
        return "o"
    return next((role for role, leaves in ROLES.items() if leaf in leaves), leaf)


def _fused_qkv(model: PreTrainedModel, leaf: str, units: int) -> tuple[tuple[str, int], ...]:
    """GPT-2 and Phi-3 stack q, k and v; GPT-NeoX repeats them per (key-value) head."""
    config = model.config.get_text_config()
    if leaf == "in_proj_qkv":  # Qwen3.5's linear attention
        keys = config.linear_num_key_heads * config.linear_key_head_dim
        return (("q", keys), ("k", keys), ("v", units - 2 * keys))
    heads = config.num_attention_heads
    key_value_heads = _key_value_heads(config) or heads
    head = units // (heads + 2 * key_value_heads)
    if config.model_type == "codegen":  # four stacks, and v comes before k
        return (("q", units // 12), ("v", units // 12), ("k", units // 12))
    repeats = key_value_heads if config.model_type in INTERLEAVED else 1
    queries, keys = head * heads // repeats, head * key_value_heads // repeats
    return (("q", queries), ("k", keys), ("v", keys))


def _key_value_heads(config: PretrainedConfig) -> int | None:
    is_new = getattr(config, "new_decoder_architecture", False)
    if getattr(config, "multi_query", False) and not is_new:
        return 1
    return getattr(config, "num_key_value_heads", None) or getattr(config, "num_kv_heads", None)


def neuron_at(sites: tuple[Site, ...], index: int) -> Neuron:
    """The neuron with this index, counting site after site.

    Raises:
        IndexError: the sites have fewer neurons.
    """
    for site in sites:
        if index < site.width:
            return Neuron(site.name, index)
        index -= site.width
    raise IndexError("index past the last neuron")
