"""Heads of attention: which rows they are, what their masks compute, and networks without them."""

from __future__ import annotations

import pytest
import torch
from probing import removed
from problem_networks import drawn, one_channel_gate, seeded
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sparsify import SparsifyError, make_mask, prunable, shrink
from sparsify.nets.mask import masked
from sparsify.nets.structure import Cut, Structure
from sparsify.pruning.cuts import cuts_of
from sparsify.pruning.plan import PointPlan
from sparsify.pruning.subject import Subject

TOKENS = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))


class Fused(nn.Module):
    """Two heads of 4 channels; queries, keys and values are one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 2
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def attended(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.num_heads, 4)).permute(2, 0, 3, 1, 4)
        return (q @ k.transpose(2, 3) / 2).softmax(3) @ v  # (n, heads, tokens, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.attended(x).transpose(1, 2).flatten(2))


class Separate(Fused):
    def __init__(self) -> None:
        super().__init__()
        del self.qkv
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def attended(self, x: Tensor) -> Tensor:
        q, k, v = (layer(x).unflatten(2, (self.num_heads, 4)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        return (q @ k.transpose(2, 3) / 2).softmax(3) @ v


class Torch(nn.Module):
    """Torch's own attention."""

    def __init__(self, width: int = 8, heads: int = 2, **options: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


def block(attention: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), attention(), nn.ReLU(), nn.Linear(8, 3)).eval()


def of_second(names: list[str], rows: list[int]) -> dict[str, list[int]]:
    return {f"1.{name}": rows for name in names}


SECOND = [*range(4, 8), *range(12, 16), *range(20, 24)]  # of 3 × 2 × 4
CASES = {
    "fused": (Fused, "1.qkv", of_second(["qkv.weight", "qkv.bias"], SECOND)),
    "torch": (Torch, "1.attention.in_proj", of_second(["attention.in_proj_weight", "attention.in_proj_bias"], SECOND)),
    **{
        f"separate-{name}": (
            Separate,
            f"1.{name}",
            of_second([f"{layer}.{kind}" for layer in "qkv" for kind in ("weight", "bias")], list(range(4, 8))),
        )
        for name in "qkv"
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_head_is_its_queries_keys_and_values(case: str) -> None:
    attention, layer, expected = CASES[case]
    model = block(attention)
    with torch.no_grad():
        for name, rows in expected.items():
            model.get_parameter(name)[rows] *= 0.01
    assert removed(make_mask(model, TOKENS, layers=layer, ratio=0.5, grain="head")) == expected


@pytest.mark.parametrize("attention", [Fused, Separate])
def test_a_masked_head_gives_nothing_and_the_others_what_they_gave(attention: type[Fused]) -> None:
    model = block(attention)
    layer = "1.qkv" if attention is Fused else "1.k"
    mask = make_mask(model, TOKENS, layers=layer, ratio=0.5, grain="head")
    (goes,) = {rows[0] // 4 % 2 for rows in removed(mask).values()}
    whole = model[1].attended(model[0](TOKENS))
    with masked(model, mask):
        left = model[1].attended(model[0](TOKENS))
    assert (left[:, goes] == 0).all()
    assert torch.equal(left[:, 1 - goes], whole[:, 1 - goes])


@pytest.mark.parametrize("attention", [Fused, Separate])
def test_an_attention_without_a_head_is_the_masked_one_and_costs_what_torch_counts(attention: type[Fused]) -> None:
    model = block(attention)
    layer = "1.qkv" if attention is Fused else "1.q"
    subject = Subject.of(model, (TOKENS, [0, 1]))
    mask, cost = subject.structure.remove(cuts_of(subject, PointPlan(layers=layer, ratio=0.5, grain="head")))
    small = shrink(model, mask, TOKENS)
    assert small[1].num_heads == 1
    assert cost.params == sum(p.numel() for p in small.parameters())
    for network, macs in ((model, Structure(model, TOKENS).remove([])[1].macs), (small, cost.macs)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(TOKENS[:1])
        assert macs == counter.get_total_flops() // 2


def test_torchs_attention_without_a_head_is_the_masked_one_and_costs_what_torch_counts() -> None:
    model = block(Torch)
    subject = Subject.of(model, (TOKENS, [0, 1]))
    plan = PointPlan(layers="1.attention.in_proj", ratio=0.5, grain="head")
    mask, cost = subject.structure.remove(cuts_of(subject, plan))
    small = shrink(model, mask, TOKENS)  # compares the outputs
    attention = small[1].attention
    assert (attention.num_heads, attention.in_proj.out_features, attention.out_proj.in_features) == (1, 12, 4)
    assert cost.params == sum(p.numel() for p in small.parameters())
    # torch does not count the products of its fused attention on a CPU
    counter = FlopCounterMode(display=False)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH), torch.no_grad(), counter:
        small(TOKENS[:1])
    assert cost.macs == counter.get_total_flops() // 2


def test_a_smaller_attention_of_torchs_can_lose_a_head_again() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), Torch(12, 3), nn.ReLU(), nn.Linear(12, 3)).eval()
    for heads in (2, 1):
        layer = "1.attention.in_proj"
        model = shrink(model, make_mask(model, TOKENS, layers=layer, ratio=1 / (heads + 1), grain="head"), TOKENS)
        assert model[1].attention.num_heads == heads


def test_a_smaller_attention_of_torchs_in_an_encoder_that_would_fuse_it() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=True), nn.Linear(8, 3)).eval()
    layers = "0.layers.0.self_attn.in_proj"
    small = shrink(model, make_mask(model, TOKENS, layers=layers, ratio=0.5, grain="head"), TOKENS)
    assert small[0].layers[0].self_attn.num_heads == 1
    assert small[0].layers[1].self_attn.num_heads == 2


def test_single_values_of_torchs_attention_go_where_all_heads_lose_equally_many() -> None:
    model = block(Torch)
    values = {"1.attention.in_proj": torch.isin(torch.arange(24), torch.tensor([17, 22]))}
    layer = Structure(model, TOKENS).layers["1.attention.in_proj"]
    small = shrink(model, [Cut(layer, "filter", values["1.attention.in_proj"])], TOKENS)
    assert (small[1].attention.in_proj.out_features, small[1].attention.out_proj.in_features) == (22, 6)
    unlike = torch.isin(torch.arange(24), torch.tensor([17]))
    with pytest.raises(
        SparsifyError, match=r"'1\.attention' would have unlike numbers of channels; remove whole heads"
    ):
        shrink(model, [Cut(layer, "filter", unlike)], TOKENS)


def test_an_attention_with_a_key_of_its_own_cannot_be_smaller() -> None:
    model = nn.Sequential(nn.Linear(8, 8), Torch(8, 2, add_bias_kv=True), nn.ReLU(), nn.Linear(8, 3)).eval()
    mask = make_mask(model, TOKENS, layers="1.attention.in_proj", ratio=0.5, grain="head")
    with pytest.raises(SparsifyError, match=r"'1\.attention' adds a key and a value of its own"):
        shrink(model, mask, TOKENS)


def test_a_layer_without_heads_is_refused() -> None:
    with pytest.raises(SparsifyError, match="0 cannot be pruned: it has no heads: each of its 8 outputs can go by its"):
        make_mask(block(Fused), TOKENS, layers="0", ratio=0.5, grain="head")


def test_channels_over_which_something_is_broadcast_are_no_head() -> None:
    """They are no grain, so that all of them would go at a ratio above a half."""
    with pytest.raises(SparsifyError, match="conv cannot be pruned: it has no heads: its 6 outputs would all go as"):
        make_mask(seeded(one_channel_gate), drawn((2, 3, 8, 8)), layers="conv", ratio=0.6, grain="head")


def test_all_takes_the_layers_that_have_heads() -> None:
    model = block(Fused)
    gone = removed(make_mask(model, TOKENS, layers="all", ratio=0.5, grain="head"))
    assert gone.keys() == {"1.qkv.weight", "1.qkv.bias"}
    reasons = prunable(model, TOKENS, grain="head")
    assert [name for name, reason in reasons.items() if not reason] == ["1.qkv"]


def test_a_vision_transformer_of_timm() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", depth=1, img_size=32, num_classes=3).eval()
    images = torch.randn(2, 3, 32, 32)
    mask = make_mask(model, images, layers="blocks.0.attn.qkv", ratio=1 / 3, grain="head")
    small = shrink(model, mask, images)
    assert (small.blocks[0].attn.num_heads, small.blocks[0].attn.qkv.out_features) == (2, 2 * 3 * 64)
