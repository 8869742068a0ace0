"""Config: every setting that can change a result, each defined once; and Places: the device and the folders."""

from sparsify.config.config import NUMERICS, OPTIONS, OWN_OPTIONS, Config
from sparsify.config.fields import ADDED, PRECISIONS, RECORDS, Whole, without_place
from sparsify.config.places import HERE, PlaceOptions, Places

__all__ = [
    "ADDED",
    "HERE",
    "NUMERICS",
    "OPTIONS",
    "OWN_OPTIONS",
    "PRECISIONS",
    "RECORDS",
    "Config",
    "PlaceOptions",
    "Places",
    "Whole",
    "without_place",
]
