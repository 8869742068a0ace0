"""Random networks: nothing unasked is masked, and the shrunk network is the masked one or is refused.

What must be masked is known from how a network was built (`Built.mask`), and that is held to a second way, by brute
force: what changes behind layers that are cut out, when one of their outputs does.
"""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from probing import asked, mask_of, removed, require_masked_exactly, shrunk
from random_graphs import Built, Source, graphs

EXAMPLE = torch.randn(2, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

few = settings(
    max_examples=60,
    phases=[Phase.generate],  # with Phase.shrink what fails becomes small, in up to 5 minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def outputs(built: Built) -> list[Source]:
    return [(layer, index) for layer, count in built.layers.items() for index in range(count)]


def gone(built: Built, mask: dict[str, list]) -> set[Source]:
    """The outputs of layers whose weights a mask removes, as a whole."""
    removals = {layer: mask.get(f"{layer}.weight", []) for layer in built.layers}
    return {(layer, index) for layer, removal in removals.items() for index in removal if isinstance(index, int)}


@given(graphs(), st.data())
@few
def test_what_goes_together_is_what_brute_force_finds(built: Built, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(outputs(built)))
    a_gate = source[0].startswith("parts.gate")  # σ(0) is not 0
    require_masked_exactly(built.model, EXAMPLE, built.mask({source}), mixed=a_gate)


@given(graphs(), st.sampled_from([0.2, 0.5, 0.8]))
@few
def test_all_masks_whole_groups_and_nothing_else(built: Built, ratio: float) -> None:
    mask = removed(asked(built.model, EXAMPLE, "all", ratio))
    assert mask == built.mask(gone(built, mask))


@given(graphs(), st.data(), st.sampled_from([0.3, 0.6]))
@few
def test_one_layer_loses_its_share_and_takes_only_what_goes_with_it(
    built: Built, data: st.DataObject, ratio: float
) -> None:
    layer = data.draw(st.sampled_from(list(built.layers)))
    mask = removed(asked(built.model, EXAMPLE, layer, ratio))
    lost = gone(built, mask)
    assert mask == built.mask(lost)
    grains = {built.goes(source) for source in lost}
    assert grains <= {built.goes((layer, index)) for index in range(built.layers[layer])}
    # of all that the coupled layers can lose, as far as this layer has it
    shares = {round(ratio * built.grains(layers)) for layers in ({layer}, built.group(layer))}
    assert len(grains) in range(min(shares), max(shares) + 1)


@given(graphs(), st.data())
@few
def test_the_shrunk_network_is_the_masked_one_or_is_refused(built: Built, data: st.DataObject) -> None:
    sources = data.draw(st.sets(st.sampled_from(outputs(built)), min_size=1, max_size=4))
    shrunk(built.model, mask_of(built.model, built.mask(sources)), EXAMPLE)
