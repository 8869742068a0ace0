"""Places: the device that computes, and the folders of runs and of data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypedDict, Unpack

from cyclopts import Parameter

from sparsify.limits import check_keywords


class PlaceOptions(TypedDict, total=False):
    """The keywords of `Places`, for functions that accept them instead of a `Places`."""

    device: str
    runs_dir: Path | str
    data_dir: Path | str | None


@dataclass(frozen=True, kw_only=True)
class Places:
    """The device that computes, the folder of runs, and a folder that is searched for data sets first.

    >>> places = sparsify.Places(device="cpu", runs_dir="runs")
    >>> sparsify.train(run.config, places) == run
    True
    """

    device: Annotated[str, Parameter(help="auto (CUDA, then MPS, then the CPU), cpu, cuda[:N] or mps")] = "auto"
    runs_dir: Annotated[Path, Parameter(help="the folder of runs")] = Path("runs")
    data_dir: Annotated[Path | None, Parameter(help="a folder that is searched for data sets first")] = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "device", str(self.device))  # a torch.device, too
        object.__setattr__(self, "runs_dir", Path(self.runs_dir))
        if self.data_dir is not None:
            object.__setattr__(self, "data_dir", Path(self.data_dir))

    @classmethod
    def of(cls, places: Places | None, **named: Unpack[PlaceOptions]) -> Places:
        """Return `places`, or else the Places with these keywords. Raises SparsifyError for both, and an unknown one.

        >>> sparsify.Places.of(None, device="cpu").device
        'cpu'
        """
        check_keywords(places, named, PlaceOptions.__annotations__, "places")
        return cls(**named) if places is None else places  # type: ignore[arg-type]  # it makes paths of texts


HERE = Places()
