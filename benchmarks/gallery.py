"""Draw the pictures of docs/gallery.md that are of no study in models/.

    python -m benchmarks.gallery

They are of LeNet on the embedded digits, trained as the page says. A minute on a CPU.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

import sparsify
from benchmarks.keep import keep_picture
from sparsify.drawing.style import RC

GALLERY = Path(__file__).parent.parent / "docs" / "assets" / "gallery"
TITLE = "LeNet on digits"
DPI = 130  # a page shows a picture as wide as it is, if there is room


def figures(runs_dir: Path) -> dict[str, Figure]:
    """Train the networks in a folder of runs; return each figure by the name of its file."""
    slbi = sparsify.Config(data="digits", batch_size=32, opt="slbi", mu=2, epochs=15)
    sgd = sparsify.Config(data="digits", batch_size=32, opt="sgd", epochs=3, record="loss,gradients,landscape")
    selected, recorded = (sparsify.train(config, device="cpu", runs_dir=runs_dir) for config in (slbi, sgd))
    sweep = sparsify.prune(selected, layers="conv3,fc1", ratios=[0, 0.95], device="cpu")
    data, classes = sparsify.load_dataset("digits"), selected.summary["classes"]
    subject = sparsify.Subject(selected.model(), data.test, data.normalise)
    return {
        "classes": sparsify.viz.classes(sweep, layers="conv3,fc1", ratio=0.95, names=classes),
        "landscape": sparsify.viz.landscape({"sgd": [recorded]}, title=TITLE),
        "losses": sparsify.viz.losses({"sgd": [recorded]}, title=TITLE),
        "net": sparsify.viz.net(selected, layers="conv3,fc1", ratio=0.6),
        "optimizers": sparsify.viz.optimizers("sgd,adam,slbi,prox-sgd"),
        "predictions": sparsify.viz.predictions(subject, classes=list(data.classes), title=TITLE),
        "schedule": sparsify.viz.schedule("sgdr,noam,cosine,one-cycle"),
    }


def main() -> None:
    """Draw them."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as made:
        for name, figure in figures(Path(made)).items():
            png = Path(made) / f"{name}.png"
            with mpl.rc_context(RC):
                figure.savefig(png, dpi=DPI)
            keep_picture(png, GALLERY / png.name)


if __name__ == "__main__":
    main()
