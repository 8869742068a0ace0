"""Imported by the process that others are forked from: they have few of the digits, as the tests themselves."""

import sklearn.datasets  # which reads them, after an import of a second
import sklearn.model_selection  # noqa: F401
from images import FEW

from sparsify.data.registry import DATASETS
from sparsify.training import trainer

DATASETS["digits"] = FEW
trainer.TICK = 1
