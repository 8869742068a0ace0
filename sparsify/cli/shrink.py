"""What `prune --shrink` says and does, and `export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from sparsify.cli import console
from sparsify.cli.options import RunsDir, finished_run
from sparsify.errors import SparsifyError

if TYPE_CHECKING:
    from torch import nn

    from sparsify.nets.mask import Mask
    from sparsify.nets.structure import Cut
    from sparsify.pruning.measuring import SweepPoint
    from sparsify.pruning.shrunk import Shrunk
    from sparsify.pruning.subject import Subject
    from sparsify.runs import Run


IMAGES = 64
"""How many images the masked and the shrunk network are compared on."""


def the_point(layers: Sequence[str], ratios: str, draws: int | None) -> float:
    """The one ratio above 0. Raises SparsifyError unless there are one of it, one set of layers and one draw."""
    from sparsify.pruning.plan import parse_ratios

    above = [ratio for ratio in parse_ratios(ratios) if ratio > 0]
    if len(above) != 1:
        listed = ", ".join(f"{ratio:g}" for ratio in above) or "none"
        raise SparsifyError(f"--shrink needs one ratio above 0, as in --ratios 0.6; these are: {listed}")
    if len(dict.fromkeys(layers)) != 1:
        raise SparsifyError(f"--shrink needs one set of layers; these are {len(layers)}: {'; '.join(layers)}")
    if draws not in (None, 1):
        raise SparsifyError(f"--shrink needs one draw; --draws is {draws}")
    return above[0]


class PointShrinker:
    """Shrinks a run at one point: before its sweep, so that a refusal comes first, and as it is measured last in it.

    `how` are the point's keywords of `cuts_of`. The result is `facts` and `network`.
    """

    def __init__(
        self, run: Run, subject: Subject, how: dict[str, Any], *, finetune_epochs: int, recalibrate_bn: bool
    ) -> None:
        from sparsify.pruning.cuts import cuts_of

        self._run, self._subject = run, subject
        self._how = {**how, "finetune_epochs": finetune_epochs, "recalibrate_bn": recalibrate_bn}
        self._waits = finetune_epochs > 0 or recalibrate_bn
        # between rounds the training decides what goes, so that it cannot be said before
        self._says_late = how["rounds"] > 1 and finetune_epochs > 0
        cuts = cuts_of(subject, subject.normalise(subject.split.images[:1]), **how)
        self.facts, self.network = self._shrink(cuts, said=not self._says_late)

    def __call__(self, point: SweepPoint, mask: Mask) -> None:
        """Take the network as it is now, at the first point that removes anything: controls come after it."""
        if self._waits and point.ratio:
            self._waits = False
            self.facts, self.network = self._shrink(mask, said=self._says_late)

    def _shrink(self, what: Mask | Sequence[Cut], *, said: bool) -> tuple[Shrunk, nn.Module]:
        say = console.say if said else lambda text: None
        return shrink_run(self._run, self._subject, what, say, **self._how)


def shrink_run(
    run: Run, subject: Subject, what: Mask | Sequence[Cut], say: Callable[[str], None], **how: Any
) -> tuple[Shrunk, nn.Module]:
    """What a mask, or cuts, remove from a run's network as it is now, removed for real and checked.

    It is said before it is done; `how` is what the folder keeps of how it was chosen. Raises SparsifyError.
    """
    from sparsify.nets.shrinking import (
        output_difference,
        plan_removal,
        remaining_zeros,
        remove_outputs,
        require_same_outputs,
    )
    from sparsify.pruning.shrunk import Shrunk

    model, images = subject.model, subject.normalise(subject.split.images[:IMAGES])
    removal = plan_removal(model, what, images)
    for group in removal.coupled:
        loses = (f"{name} ({len(removal.outputs[name])} of {len(model.get_submodule(name).weight)})" for name in group)
        say(f"coupled, so their channels go together: {', '.join(loses)}")
    sides = {"outputs": (removal.outputs, 0), "inputs": (removal.inputs, 1)}
    for side, (indices, axis) in sides.items() if removal.outputs else ():
        sizes = {name: model.get_submodule(name).weight.shape[axis] for name in indices}
        say(f"{side} that go: {', '.join(f'{name} ({len(indices[name])} of {sizes[name]})' for name in sizes)}")
    small = remove_outputs(model, removal.outputs, images, mask=removal.mask)
    difference = output_difference(model, removal.mask, small, images)
    require_same_outputs(difference)
    before, after = (sum(p.numel() for p in network.parameters()) for network in (model, small))
    say(f"shrunk: {before:,} → {after:,} parameters")
    for name, (zeros, total) in remaining_zeros(model, removal, images).items():
        say(f"  {name}: {zeros:,} of {total:,} stay as zeros, because they are not removed as whole outputs")
    say(
        f"checked on {len(images)} images: masked and shrunk logits differ by no more than {difference:.1e} of the "
        f"largest"
    )
    summary = run.summary
    facts = Shrunk(
        model=run.config.model,
        shape=tuple(summary["shape"]),
        classes=tuple(summary["classes"]),
        removed=removal.outputs,
        run=run.name,
        **how,
        params_before=before,
        params_after=after,
        difference=difference,
    )
    return facts, small


def export(
    folder: str | None = None,
    /,
    *,
    onnx: Annotated[bool, Parameter(help="write model.onnx, checked against onnxruntime", negative=())] = False,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Write a run (the newest unless one is named), or a shrunk network's folder, in a form for other software."""
    import torch

    from sparsify.devices import generator
    from sparsify.files import write_bytes
    from sparsify.nets.deployment import INPUT, OUTPUT, to_onnx
    from sparsify.pruning.shrunk import Shrunk, is_shrunk, load_shrunk

    if not onnx:
        raise SparsifyError("export needs a format; there is one: --onnx")
    if folder is not None and is_shrunk(Path(folder)):
        network, shape, place = load_shrunk(Path(folder)), Shrunk.read(Path(folder)).shape, Path(folder)
    else:
        run = finished_run(folder, runs_dir)
        network, shape, place = run.model(), tuple(run.summary["shape"]), run.output(runs_dir)
    inputs = torch.randn(8, *shape, generator=generator(0, "export"))
    content, difference = to_onnx(network, inputs)
    write_bytes(place / "model.onnx", content)
    console.say(
        f"checked with onnxruntime: its logits differ from torch's by no more than {difference:.1e} of the largest"
    )
    console.say(f"written: {place / 'model.onnx'}; {INPUT} (n, {', '.join(map(str, shape))}), normalised → {OUTPUT}")
    return 0
