"""Augmentation: what each name does to an image is keyed by (seed, epoch), and independent of the batch around it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from sparsify.data.augmentation import crop_and_flip, shift
from sparsify.data.registry import AUGMENTATIONS, augmentation, augmentation_text, named_augmentations
from sparsify.devices import exactly, generator
from sparsify.errors import SparsifyError

ONE_BY_ONE = [name for name in AUGMENTATIONS if augmentation(name).one_by_one]


def images(count: int = 12, channels: int = 3, size: int = 16) -> Tensor:
    """Images with structure: noise of uint8 that is smooth, so that geometric changes are seen."""
    coarse = torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    return (torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear") * 255).to(torch.uint8)


# ---- names ----


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("none", []),
        ("mirror", [("mirror", 0.5)]),
        ("mirror+crop+autoaugment:0.6", [("mirror", 0.5), ("crop", 1.0), ("autoaugment", 0.6)]),
        (" crop : 0.25 + crop-flip", [("crop", 0.25), ("crop-flip", 1.0)]),
    ],
)
def test_names_are_joined_by_plus_each_with_a_probability(text: str, named: list[tuple[str, float]]) -> None:
    assert named_augmentations(text) == named


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("mirror:0.5+crop:1", "mirror+crop"),
        ("crop-flip:1.0", "crop-flip"),
        ("mirror:.25", "mirror:0.25"),
        ("none",) * 2,
    ],
)
def test_one_meaning_has_one_text(text: str, canonical: str) -> None:
    assert augmentation_text(named_augmentations(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("miror", "unknown augmentation 'miror'; did you mean 'mirror'?"),
        (
            "mirror+",
            "unknown augmentation ''; choose from: none, crop-flip, mirror, alternate-mirror, crop, shift, autoaugment",
        ),
        (3, "unknown augmentation '3'; choose from: none"),
        ("none+crop", "--augment is 'none+crop'; none stands alone"),
        ("none:0.5", "--augment is 'none:0.5'; none stands alone"),
        ("crop+crop:0.5", "--augment is 'crop+crop:0.5'; crop stands there twice"),
        ("crop:0", "--augment has 'crop:0'; a probability must be above 0 and at most 1, as in crop:0.6"),
        ("crop:1.5", "--augment has 'crop:1.5'; a probability must be above 0 and at most 1"),
        ("crop:", "--augment has 'crop:'; a probability must be above 0 and at most 1"),
        ("crop:nan", "--augment has 'crop:nan'; a probability must be above 0 and at most 1"),
    ],
)
def test_what_is_no_augmentation_is_refused(text: str, message: str) -> None:
    with pytest.raises(SparsifyError) as caught:
        named_augmentations(text)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# ---- crops and mirror images ----


def test_crop_and_flip_is_a_padded_crop_and_a_mirror_image() -> None:
    images = torch.randint(0, 256, (5, 3, 6, 7), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    draws = torch.tensor([[4, 4, 0], [0, 8, 0], [8, 0, 1], [4, 4, 1], [3, 5, 1]])
    found = crop_and_flip(images, draws)
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    for image, (row, column, mirrored), result in zip(padded, draws.tolist(), found, strict=True):
        crop = image[:, row : row + 6, column : column + 7]
        assert torch.equal(result, crop.flip(-1) if mirrored else crop)
    assert torch.equal(found[0], images[0])


def test_draws_are_keyed_and_cover_their_range() -> None:
    augment = augmentation("crop-flip")
    draws = augment.draw(torch.arange(2000), 3, 1)
    assert torch.equal(draws, augment.draw(torch.arange(2000), 3, 1))
    assert not torch.equal(draws, augment.draw(torch.arange(2000), 3, 2))
    assert not torch.equal(draws, augment.draw(torch.arange(2000), 4, 1))
    assert [sorted(set(column.tolist())) for column in draws.T] == [list(range(9)), list(range(9)), [0, 1]]


def test_crop_flip_draws_what_it_has_always_drawn() -> None:
    """Runs of before go on bit for bit, also if others come behind it."""
    uniform = torch.rand(50, 3, generator=generator(3, 1, "augmentation"), dtype=torch.float64)
    draws = (uniform * torch.tensor([9, 9, 2])).long()
    assert torch.equal(augmentation("crop-flip").draw(torch.arange(50), 3, 1), draws)
    assert torch.equal(augmentation("crop-flip+autoaugment").draw(torch.arange(50), 3, 1)[:, :3], draws)
    assert torch.equal(augmentation("crop-flip")(images(50), draws), crop_and_flip(images(50), draws))


def test_without_a_name_images_stay_as_they_are() -> None:
    augment = augmentation("none")
    draws = augment.draw(torch.arange(12), 0, 1)
    assert draws.shape == (12, 0)
    given = images()
    assert augment(given, draws) is given


@pytest.mark.parametrize(("text", "part"), [("mirror", 0.5), ("mirror:0.2", 0.2), ("mirror:1", 1.0)])
def test_mirror_mirrors_its_part_of_the_images_and_does_no_more(text: str, part: float) -> None:
    augment, given = augmentation(text), images(1000, 1, 4)
    found = augment(given, augment.draw(torch.arange(1000), 0, 1))
    mirrored = (found == given.flip(-1)).flatten(1).all(1)
    assert torch.equal(found[~mirrored], given[~mirrored])
    assert mirrored.float().mean().item() == pytest.approx(part, abs=0.04)


@pytest.mark.parametrize(("text", "part"), [("crop", 1.0), ("crop:0.3", 0.3)])
def test_crop_crops_its_part_of_the_images_and_mirrors_none(text: str, part: float) -> None:
    draws = augmentation(text).draw(torch.arange(2000), 0, 1)
    assert not draws[:, 2].any()
    moved = (draws[:, :2] != 4).any(1)
    assert moved.float().mean().item() == pytest.approx(part * 80 / 81, abs=0.03)
    assert sorted(set(draws[:, 0].tolist())) == list(range(9))


def test_shift_moves_down_and_right_and_mirrors_at_the_edge() -> None:
    given = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]], dtype=torch.uint8)[None, None].expand(3, 1, 2, 4)
    found = shift(given, torch.tensor([[0, 1], [1, -2], [0, 0]]))
    assert found[0, 0].tolist() == [[2, 1, 2, 3], [6, 5, 6, 7]]
    assert found[1, 0].tolist() == [[7, 8, 7, 6], [3, 4, 3, 2]]
    assert torch.equal(found[2], given[2])


def test_shift_is_a_crop_of_the_image_padded_by_reflection() -> None:
    given, augment = images(200, 3, 9), augmentation("shift")
    draws = augment.draw(torch.arange(200), 0, 1)
    padded = torch.nn.functional.pad(given.float(), (2, 2, 2, 2), mode="reflect").to(torch.uint8)
    found = augment(given, draws)
    for image, (down, right), one in zip(padded, draws.tolist(), found, strict=True):
        assert torch.equal(one, image[:, 2 - down : 11 - down, 2 - right : 11 - right])
    assert sorted(set(map(tuple, draws.tolist()))) == [(a, b) for a in range(-2, 3) for b in range(-2, 3)]


def test_shift_leaves_images_alone_by_chance_and_takes_the_smallest_ones() -> None:
    draws = augmentation("shift:0.3").draw(torch.arange(4000), 0, 1)
    assert (draws != 0).any(1).float().mean().item() == pytest.approx(0.3 * 24 / 25, abs=0.03)
    augment = augmentation("shift")
    for size in (1, 2):
        small = images(25, 1, size)
        found = augment(small, augment.draw(torch.arange(25), 0, 1))
        assert found.shape == small.shape
    assert torch.equal(shift(images(25, 1, 1), torch.full((25, 2), 2)), images(25, 1, 1))


def test_two_epochs_show_each_image_from_both_sides() -> None:
    augment, given = augmentation("alternate-mirror"), images(1000, 1, 4)
    seen = []
    for epoch in (1, 2, 3):
        order = torch.randperm(1000, generator=torch.Generator().manual_seed(epoch))
        found = augment(given[order], augment.draw(order, 0, epoch))
        mirrored = torch.empty(1000, dtype=torch.bool)
        mirrored[order] = (found == given[order].flip(-1)).flatten(1).all(1)
        assert torch.equal(found[~mirrored[order]], given[order][~mirrored[order]])
        seen.append(mirrored)
    assert torch.equal(seen[0], ~seen[1])
    assert torch.equal(seen[0], seen[2])
    assert seen[0].float().mean().item() == pytest.approx(0.5, abs=0.04)
    assert not torch.equal(augment.draw(torch.arange(1000), 0, 1), augment.draw(torch.arange(1000), 1, 1)), (
        "another seed"
    )


def test_images_that_do_not_alternate_are_never_mirrored() -> None:
    augment = augmentation("alternate-mirror:0.3")
    odd, even = (augment.draw(torch.arange(2000), 0, epoch)[:, 2].bool() for epoch in (1, 2))
    assert not (odd & even).any()
    assert (odd | even).float().mean().item() == pytest.approx(0.3, abs=0.03)


def test_one_after_another_in_the_order_of_the_text() -> None:
    given, both = images(), augmentation("mirror+crop")
    draws = both.draw(torch.arange(12), 0, 1)
    mirror, crop = augmentation("mirror"), augmentation("crop")
    assert torch.equal(draws, torch.cat([mirror.draw(torch.arange(12), 0, 1), crop.draw(torch.arange(12), 0, 1)], 1))
    assert torch.equal(both(given, draws), crop(mirror(given, draws[:, :3]), draws[:, 3:]))
    other = augmentation("crop+mirror")
    assert not torch.equal(both(given, draws), other(given, other.draw(torch.arange(12), 0, 1)))


# ---- torchvision's ----


@pytest.mark.parametrize("name", ONE_BY_ONE)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_what_its_own_seed_makes_of_it(name: str, channels: int) -> None:
    """One by one, in another order, in batches of other sizes: always the same; and torch's generator stays."""
    given, augment = images(channels=channels), augmentation(f"{name}:1")
    draws = augment.draw(torch.arange(12), 0, 1)
    before = torch.get_rng_state()
    found = augment(given, draws)
    assert torch.equal(torch.get_rng_state(), before)
    assert (found.dtype, found.shape) == (torch.uint8, given.shape)
    assert not torch.equal(found, given)
    assert torch.equal(given, images(channels=channels)), "what was given has changed"
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    assert torch.equal(augment(given[order], draws[order]), found[order])
    alone = [augment(given[i : i + 1], draws[i : i + 1]) for i in range(12)]
    assert torch.equal(torch.cat(alone), found)
    laid_out = given.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(laid_out, draws), found)
    assert not torch.equal(augment(given, augment.draw(torch.arange(12), 0, 2)), found), "the next epoch draws anew"


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("autoaugment", v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)),
        ("randaugment", v2.RandAugment()),
        ("trivialaugment", v2.TrivialAugmentWide()),
        ("random-erasing", v2.RandomErasing(1.0)),
        ("rotation", v2.RandomRotation(15, interpolation=v2.InterpolationMode.BILINEAR)),
    ],
)
def test_it_is_torchvisions_transform_of_each_image_after_its_seed(name: str, transform: torch.nn.Module) -> None:
    given, augment = images(), augmentation(f"{name}:1")
    draws = augment.draw(torch.arange(12), 5, 2)
    with torch.random.fork_rng(devices=[]):
        expected = []
        for image, seed in zip(given, draws[:, 0].tolist(), strict=True):
            torch.manual_seed(seed)
            expected.append(transform(image))
    assert torch.equal(augment(given, draws), torch.stack(expected))


def test_a_probability_leaves_the_others_alone() -> None:
    given, augment = images(200), augmentation("rotation:0.6")
    draws = augment.draw(torch.arange(200), 0, 1)
    alone = draws[:, 0] < 0
    assert alone.float().mean().item() == pytest.approx(0.4, abs=0.1)
    found = augment(given, draws)
    assert torch.equal(found[alone], given[alone])
    always = augmentation("rotation:1")
    assert torch.equal(found[~alone], always(given, always.draw(torch.arange(200), 0, 1))[~alone])


def test_a_batch_comes_back_as_numbers_that_gradients_can_go_through() -> None:
    augment = augmentation("crop+autoaugment")
    assert augment.one_by_one
    assert not augmentation("crop-flip+mirror+crop").one_by_one
    with exactly("exact"):
        found = augment(images(), augment.draw(torch.arange(12), 0, 1)).float()
    weight = torch.ones(1, requires_grad=True)
    (found * weight).sum().backward()
    assert weight.grad.item() == found.sum().item()


@pytest.mark.cuda
def test_on_a_gpu_images_are_those_of_the_cpu() -> None:
    augment = augmentation("mirror+crop+autoaugment:0.6")
    draws = augment.draw(torch.arange(12), 0, 1)
    found = augment(images().cuda(), draws.cuda())
    assert found.is_cuda
    assert torch.equal(found.cpu(), augment(images(), draws))
