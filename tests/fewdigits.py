"""Imported by the process that others are forked from: they have few of the digits, as the tests themselves."""

from images import FEW

from sparsify.data.registry import DATASETS
from sparsify.training import trainer

DATASETS["digits"] = FEW
trainer.TICK = 1
