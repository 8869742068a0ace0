"""The JSON Schema of a study's file: it takes what is a study, refuses typical mistakes, and has the options' help."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from importlib import resources
from typing import Any

import pytest

from sparsify.config import Config
from sparsify.optim.registry import OPTIMIZERS
from sparsify.pruning.plan import SweepPlan
from sparsify.study.jsonschema import study_schema
from sparsify.study.toml import built_in_studies

SCHEMA = study_schema()
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
KNOWN = {"$schema", "$ref", "$defs", "title", "description", "default", "type", "enum", "pattern", "anyOf"}
KNOWN |= {"properties", "required", "additionalProperties", "items", "minimum", "maximum", "minLength"}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is valid: the keywords of JSON Schema that are used here, and no others."""
    assert set(schema) <= KNOWN
    if "$ref" in schema and not fits(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]):
        return False
    if "type" in schema:
        kind = TYPES[schema["type"]]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            return False
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        return False
    if "anyOf" in schema and not any(fits(value, one) for one in schema["anyOf"]):
        return False
    if isinstance(value, list):
        return all(fits(one, schema.get("items", {})) for one in value)
    if isinstance(value, dict) and "properties" in schema:
        assert schema["additionalProperties"] is False
        known = all(key in schema["properties"] and fits(one, schema["properties"][key]) for key, one in value.items())
        return known and set(schema["required"]) <= set(value)
    return True


@pytest.mark.parametrize("name", built_in_studies())
def test_every_built_in_study_fits(name):
    text = (resources.files("sparsify") / "study" / "builtin" / f"{name}.toml").read_text(encoding="utf-8")
    assert fits(tomllib.loads(text), SCHEMA)


ARM = '[[arms]]\nopt = "sgd"\n'
MASK = ARM + "[arms.mask]\nof = 'sgd'\nlayers = 'conv3'\n"


@pytest.mark.parametrize(
    "text",
    [
        ARM,
        "",
        ARM + "lr = 1\nmodel = 'torchvision:resnet18'\ndata = 'folder:photos'",
        ARM + "mask = 'file.safetensors'",
        ARM + "augment = 'none'\nnormalise = false\nresize = 64\nlabel_smoothing = 0.1\nloss = 'nll'",
        ARM + "augment = 'mirror+crop+autoaugment:0.6'\nmodel = 'torchvision:alexnet'\npretrained = true",
        MASK + "ratio = '0.5'",
        "[grid]\nlr = 0.1\nopt = ['sgd', 'slbi']",
        ARM + "[arms.select]\nlr = [0.1, 1]\nseeds = [3]\nval = 0.2\non = 'conv3 at 0.5'",
        "[sweep]\nlayers = 'conv3'\nratios = 0.5",
        "[[sweeps]]\nratios = [0, 0.5]\ndraws = 3\n[[sweeps]]\nratios = '0:0.6:0.1'",
        "draw = 'path'",
    ],
)
def test_what_a_study_may_say_fits(text):
    assert fits(tomllib.loads(text), SCHEMA)


@pytest.mark.parametrize(
    "text",
    [
        "tilte = 'x'",
        "seeds = 3",
        "seeds = ['0']",
        "[base]\nseed = 1",
        "[base]\nepochs = '5'",
        "[base]\nepochs = 1.5",
        ARM + "oppt = 'sgd'",
        ARM + "stage = 1",
        "[[arms]]\nopt = 'sdg'",
        ARM + "model = 'lenett'",
        ARM + "data = 'cifar'",
        ARM + "schedule = 'cosin'",
        ARM + "augment = 'crops'",
        ARM + "augment = 'none+crop'",
        ARM + "augment = 'crop:'",
        ARM + "loss = 'l2'",
        ARM + "normalise = 1",
        ARM + "resize = '64'",
        ARM + "precision = 'half'",
        ARM + "structure = 'filters'",
        MASK,
        MASK + "ratio = 0.5\ncriterion = 'norm'",
        MASK + "ratio = 0.5\nscope = 'layer'",
        ARM + "[arms.select]\nmodel = ['lenet']",
        ARM + "[arms.grid]\nlr = ['high']",
        "[sweep]\ncriterion = 'magnitud'",
        "[sweep]\nscope = 'all'",
        "[sweep]\ngrain = 'row'",
        "[sweep]\nratio = 0.5",
        "[[sweeps]]\nrounds = 1.5",
        "draw = ['curve']",
    ],
)
def test_typical_mistakes_do_not_fit(text):
    assert not fits(tomllib.loads(text), SCHEMA)


def test_every_setting_is_there_with_the_help_of_its_option():
    fields = {field.name: field.metadata["help"] for field in dataclasses.fields(Config) if field.name != "seed"}
    for table in ("Base", "Grid", "Arm"):
        found = SCHEMA["$defs"][table]["properties"]
        assert {name: found[name]["description"] for name in fields} == fields
        assert set(found) - set(fields) == (
            {"label", "stage", "published", "grid", "select"} if table == "Arm" else set()
        )
    assert set(fields) - set(SCHEMA["$defs"]["Select"]["properties"]) == {"model", "data"}
    assert SCHEMA["$defs"]["Base"]["properties"]["opt"]["enum"] == list(OPTIMIZERS)
    assert SCHEMA["$defs"]["Base"]["properties"]["lr"]["type"] == "number"


def test_every_option_of_a_sweep_is_there():
    names = [field.name for field in dataclasses.fields(SweepPlan) if field.name != "support"]  # one of its ratios
    assert list(SCHEMA["$defs"]["Sweep"]["properties"]) == [*names, "arms"]
