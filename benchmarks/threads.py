"""How far the number of torch's threads moves pruned accuracies: the same trainings with 1 and with 2 threads.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.threads --data-dir DIR

LeNet on MNIST, each optimizer and seed twice: with one thread and with two, in everything else the same. Sums over a
batch are then added in another order, so that the last bits of the weights differ, which grow over the steps. Each
network is pruned of conv3+fc1 by magnitude with as many threads as it was trained with. The first training of each
optimizer is done once more with one thread: its weights must be the same to the last bit, or nothing is written. Six
minutes on two idle cores; it goes on where it was stopped. The setting of OpenMP keeps threads from waiting in a loop,
which takes long where other programs run; it changes no number.

Writes threads.json and threads.md to benchmarks/results, or to the folder --results, and what a study's report says of
it to sparsify/report/threads.json, or to the file --said.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import machine, save
from sparsify.config import Config, Places
from sparsify.files import write_text
from sparsify.pruning.measuring import prune
from sparsify.pruning.ratios import parse_ratios
from sparsify.report.table import COUNT, TEXT, Column, Format, Table, to_markdown
from sparsify.runs import Run
from sparsify.text import percentage, plural
from sparsify.training.launch import train

HERE = Path(__file__).parent
THREADS = (1, 2)
OPTS = ("sgd", "slbi")
LAYERS = "conv3,fc1"
_NUMBERS = ("mean", "largest", "seeds_deviation", "n")


def trained(config: Config, threads: int, folder: Path, data_dir: Path | None) -> Run:
    """The run of a Config with so many threads, in the folder."""
    torch.set_num_threads(threads)
    return train(config, Places(device="cpu", runs_dir=folder, data_dir=data_dir), progress=True)


def accuracies(run: Run, ratios: Sequence[float], data_dir: Path | None) -> list[float]:
    """The accuracy of a run at each ratio."""
    swept = prune(run, layers=LAYERS, ratios=tuple(ratios), device="cpu", data_dir=data_dir)
    return [row.accuracy for row in swept]


def measure(asked: argparse.Namespace, ratios: Sequence[float]) -> Iterator[dict[str, Any]]:
    """One row a seed and optimizer: the accuracies with each number of threads.

    Raises AssertionError for a training
        that comes out otherwise when it is done again.
    """
    for seed in range(asked.seeds):
        for opt in OPTS:
            config = Config(model="lenet", data=asked.data, opt=opt, epochs=asked.epochs, seed=seed)
            row: dict[str, Any] = {"opt": opt, "seed": seed}
            for threads in THREADS:
                run = trained(config, threads, asked.runs_dir / f"threads-{threads}", asked.data_dir)
                row[str(threads)] = accuracies(run, ratios, asked.data_dir)
                if threads == 1 and seed == 0:
                    again = trained(config, threads, asked.runs_dir / "again", asked.data_dir)
                    sums = [one.summary["sha256"]["model.safetensors"] for one in (run, again)]
                    assert sums[0] == sums[1], f"{config.name} has other weights when it is trained again"
            yield row


def differences(rows: Sequence[dict[str, Any]], ratios: Sequence[float]) -> list[dict[str, Any]]:
    """One row a ratio: n pairs, the mean and the largest |difference| in points, and the deviation over seeds.

    The deviation is the sample standard deviation of the accuracies with one thread in points, its mean over the
    optimizers.
    """
    found = []
    for place, ratio in enumerate(ratios):
        apart = [100 * abs(row["1"][place] - row["2"][place]) for row in rows]
        by_opt = [[100 * row["1"][place] for row in rows if row["opt"] == opt] for opt in OPTS]
        deviation = statistics.mean(map(statistics.stdev, by_opt)) if len(by_opt[0]) > 1 else None
        found.append(
            {
                "ratio": ratio,
                "n": len(apart),
                "mean": statistics.mean(apart),
                "largest": max(apart),
                "seeds_deviation": deviation,
            }
        )
    return found


def table(content: dict[str, Any]) -> str:
    """The differences, and the accuracies that they are of, in Markdown."""
    two = Format(lambda value: f"{value:.2f}")
    columns = [
        Column("removed", TEXT),
        Column("mean |difference|, points", two),
        Column("largest", two),
        Column("s.d. over seeds, points", two),
        Column("n", COUNT),
    ]
    rows = [(percentage(one["ratio"]), *(one[name] for name in _NUMBERS)) for one in content["differences"]]
    title = f"Accuracies with 1 and with 2 threads, {content['model']} on {content['data']}, {LAYERS} by magnitude"
    each = [Column("opt", TEXT), Column("seed", COUNT), Column("threads", COUNT)]
    each += [Column(percentage(ratio), two) for ratio in content["ratios"]]
    values = [
        (row["opt"], row["seed"], threads, *(100 * value for value in row[str(threads)]))
        for row in content["rows"]
        for threads in THREADS
    ]
    said = f"{plural(content['epochs'], 'epoch')}; n pairs, one an optimizer and seed. {content['machine']['date']}, "
    said += f"torch {content['machine']['torch']}, {content['machine']['device']}.\n"
    found = [Table.of(title, columns, rows), Table.of("Accuracies (%)", each, values)]
    return "\n".join([*map(to_markdown, found), said])


def main() -> None:
    """Train, sweep, print the tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data-dir")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs") / "threads")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--said", type=Path, default=HERE.parent / "sparsify" / "report" / "threads.json")
    asked = parser.parse_args()
    ratios = parse_ratios("0:0.9:0.1")
    rows = list(measure(asked, ratios))
    content = {
        "machine": machine(torch.device("cpu"), datetime.datetime.now(datetime.UTC)),
        "model": "lenet",
        "data": asked.data,
        "layers": LAYERS,
        "epochs": asked.epochs,
        "ratios": list(ratios),
        "differences": differences(rows, ratios),
        "rows": rows,
    }
    text = table(content)
    print(text)
    save(asked.results / "threads.json", content)
    write_text(asked.results / "threads.md", text)
    save(asked.said, {key: content[key] for key in ("model", "data", "layers", "epochs", "differences")})


if __name__ == "__main__":
    main()
