"""The targets of the fuzzer, with what hypothesis makes and with mutated seeds; and the fuzzer's own parts."""

from __future__ import annotations

import json
import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import fuzz
from benchmarks.fuzzing import inputs, options
from sparsify.study.schema import ArmKeys, ArmTable, StudyFile, SweepTable

pytestmark = pytest.mark.filterwarnings("default")
BOUNDED = settings(max_examples=40, deadline=10_000)
OWN = {name: (getattr(inputs, name), seeds) for name, seeds in inputs.SEEDS.items()}
OPTIONS = {name: (getattr(options, name), seeds) for name, seeds in options.SEEDS.items()}
QUICK = {name: OPTIONS[name] for name in OPTIONS if name not in ("figure", "recorded")}  # the others take a second each

NUMBERS = st.one_of(st.integers(), st.floats().map(lambda value: f"{value:g}"), st.just("9" * 5000), st.just("0xffff"))
WORDS = st.one_of(
    st.text("0123456789.,:e-+ \n\x1c", max_size=20),
    st.text("conv123fcall*?[]!,. ", max_size=20),
    st.text(st.characters(exclude_categories=()), max_size=20),
)
SCALARS = st.one_of(NUMBERS.map(str), st.sampled_from(["true", "1979-05-27", "07:32:00", '"conv3"', "[]", "{}", "inf"]))
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3).map(lambda some: f"[{', '.join(some)}]"))


def lines(*tables: type) -> st.SearchStrategy[str]:
    """A table's keys, known or not, with values of any kind."""
    known = [name for table in tables for name in table.__struct_fields__]
    keys = st.one_of(st.sampled_from(known), st.text(string.ascii_letters, min_size=1, max_size=8))
    return st.dictionaries(keys, VALUES, max_size=4).map(
        lambda some: "".join(f"{key} = {value}\n" for key, value in some.items())
    )


STUDIES = st.tuples(lines(StudyFile), lines(ArmTable), lines(ArmKeys, ArmTable), lines(SweepTable)).map(
    lambda parts: f'{parts[0]}[base]\n{parts[1]}[[arms]]\nopt = "sgd"\n{parts[2]}[sweep]\n{parts[3]}'
)
TREES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@BOUNDED
@pytest.mark.parametrize("name", ["ratios", "layers", "seeds", "setting"])
@given(text=st.one_of(WORDS, st.tuples(WORDS, VALUES).map("=".join)))
def test_what_is_typed_has_a_value_or_an_error_of_one_line(name, text):
    fuzz.demanding(OWN[name][0])(text.encode(errors="surrogatepass"))


@BOUNDED
@given(text=STUDIES)
def test_a_study_of_any_keys_and_values_has_arms_or_an_error_of_one_line(text):
    fuzz.demanding(inputs.study)(text.encode(errors="surrogatepass"))


@BOUNDED
@pytest.mark.parametrize("name", ["config", "summary"])
@given(changes=st.dictionaries(st.sampled_from(["model", "opt", "lr", "classes", "shape", "status", "x"]), TREES))
def test_a_runs_json_with_any_values_is_read_or_refused_in_one_line(name, changes):
    values = json.loads(OWN[name][1][0])
    fuzz.demanding(OWN[name][0])(json.dumps(values | changes).encode())


@BOUNDED
@given(header=st.recursive(TREES, lambda inner: st.dictionaries(st.sampled_from(["a", "dtype", "shape"]), inner)))
def test_tensors_with_any_header_are_read_or_refused_in_one_line(header):
    fuzz.demanding(inputs.safetensors)(inputs.tensors(json.dumps(header).encode(), bytes(8)))


@BOUNDED
@pytest.mark.parametrize("name", OWN | QUICK)
@given(seed=st.integers(0, 2**32))
def test_mutated_inputs_are_read_or_refused_in_one_line(name, seed):
    target, seeds = (OWN | QUICK)[name]
    source = random.Random(seed)
    content = fuzz.changed(source.choice(seeds), source.choice(seeds), source)
    with fuzz.limited():
        fuzz.demanding(target)(content)


@pytest.mark.parametrize("name", OWN | OPTIONS)
def test_the_inputs_to_begin_with_are_valid(name):
    target, seeds = (OWN | OPTIONS)[name]
    for content in seeds:
        target(content)


@pytest.mark.parametrize("path", sorted(fuzz.FOUND.glob("*/*")), ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_is_mended(path):
    target, _ = (OWN | OPTIONS)[path.parent.name]
    with fuzz.limited():
        fuzz.demanding(target)(path.read_bytes())


def test_anything_but_a_sparsify_error_is_found_and_written(tmp_path):
    def fails(content: bytes) -> None:
        if b"9" in content:
            raise KeyError("nine")

    with pytest.raises(KeyError, match="nine"):
        fuzz.at_random(fuzz.demanding(fails), [b"12"], 30, tmp_path)
    (found,) = tmp_path.iterdir()
    assert b"9" in found.read_bytes()


def test_the_targets_are_the_functions_of_bytes():
    assert set(OWN | OPTIONS) <= set(fuzz.targets())
    assert "text_of" not in fuzz.targets()
