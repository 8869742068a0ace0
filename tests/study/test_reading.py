"""Studies and settings that no person would write: refused in one line, in a short time."""

from __future__ import annotations

import json
import os
import string
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from refusals import read_or_refused

from sparsify.config import Config, Places
from sparsify.errors import SparsifyError
from sparsify.pruning.plan import PointPlan, SweepPlan
from sparsify.study.design import Arm, MaskOf, Study
from sparsify.study.planning import Planner
from sparsify.study.reading import parse_settings, parse_toml
from sparsify.study.toml import load_study

ARM = '[[arms]]\nopt = "sgd"\n'
GRID = "[grid]\n" + "".join(f"{key} = {list(range(1, 60))}\n" for key in ("epochs", "batch_size", "lr"))


def chain(length: int, *, circle: bool = False) -> str:
    """Arms of which each starts from the one before it."""
    first = f'init = "a{length - 1}"\n' if circle else ""
    rest = (f'[[arms]]\nlabel = "a{n}"\nopt = "sgd"\ninit = "a{n - 1}"\n' for n in range(1, length))
    return f'[base]\ndata = "digits"\nepochs = 1\n[[arms]]\nlabel = "a0"\nopt = "sgd"\n{first}{"".join(rest)}'


def test_a_design_names_the_arms_of_each_sweep_or_of_none() -> None:
    arm = Arm("one", (Config(data="digits", opt="sgd", epochs=1),))
    for swept in ((("one",),), (("one",), ("one",), ("one",))):
        with pytest.raises(SparsifyError, match=rf"^the arms of {len(swept)} sweeps are named; there are 2$"):
            Study("s", "S", (arm,), (SweepPlan(layers="conv3"), SweepPlan(layers="conv2")), swept=swept)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = " + "[" * 5000, "nested more than 50 deep"),
        ("a = " + "[" * 100 + "]" * 100, "nested more than 50 deep"),
        ("a" + ".a" * 20_000 + " = 1", "a key has more than 50 parts"),
        ('"a"' + " . 'b'" * 20_000 + " = 1", "a key has more than 50 parts"),
        ("x = {a" + ".a" * 20_000 + " = 1}", "a key has more than 50 parts"),
        (f"seeds = [{'9' * 5000}]\n" + ARM, "a whole number of more than 400 digits"),
        (f"seeds = [0x{'f' * 5000}]\n" + ARM, "a whole number of more than 400 digits"),
        (f"[base]\nepochs = {10**300}\n" + ARM, "--epochs is 10{79}…; it must be at most 1000000"),
        (ARM + "[sweep]\nratios = 1979-05-27", r"ratios is datetime.date\(1979, 5, 27\) in sweep; it must be"),
        (ARM + "[sweep]\nratios = [inf]", "'inf' is not finite"),
        ("[base]\ndata = 07:32:00\n" + ARM, r"data is datetime.time\(7, 32\) in base; it must be a text"),
        ("[base]\ndata = 'folder:" + "a/" * 100_000 + "'\n" + ARM, "it has 200,007 characters, at most 4,096"),
        ('[base]\ndata = "folder:a\\u0000b"\n' + ARM, r"it must be text without NUL"),
        (f"seeds = {list(range(10_001))}\n" + ARM, "10,001 seeds are too many; at most 10,000"),
        (GRID, "205,379 runs .* are too many; at most 100,000"),
        (f"seeds = {list(range(10_000))}\n[grid]\nlr = {list(range(1, 12))}", "110,000 runs .* are too many"),
        (ARM + "[[sweeps]]\n" * 101, "101 sweeps are too many; at most 100"),
        (chain(10_000, circle=True), "arms start from each other in a circle: a.*, a.*, and 9,951 more"),
        ('[[arms]]\nopt = "\\u001b[31m\\nx\\u202e"', r"unknown optimizer '\\x1b\[31m\\nx\\u202e'"),
        (ARM + f"[sweep]\nlayers = '{'a' * 5000}'", "it has 5,000 characters, at most 4,096"),
        (f"title = '{'a' * 5000}'\n" + ARM, "title is 'aaa.*'; it has 5,000 characters, at most 4,096"),
        (ARM + f"label = '{'a' * 5000}'", "label is 'aaa.*'; it has 5,000 characters, at most 4,096"),
        (
            ARM + f"published = {{ 'test accuracy' = 0.5, source = '{'a' * 5000}' }}",
            "published.source is 'aaa.*'; it has",
        ),
        ("# " + "x" * 1_000_000, "1,000,002 bytes in .* are too many; at most 1,000,000"),
    ],
    ids=range(24),
)
def test_a_study_that_nobody_would_write_is_refused(text, message, tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(SparsifyError, match=message) as caught:
        load_study(str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs=" + "[" * 4000, "--set epochs=.*…: its lists and tables are nested more than 50 deep"),
        ("epochs=" + "9" * 4089, "it must be at most|more than 400 digits"),
        ("epochs=1" + "0" * 4089, "it has 4,097 characters, at most 4,096"),
        ("sweep.ratios=1979-05-27", r"ratios is datetime.date\(1979, 5, 27\)"),
        ("sweep.ratios=0:1:1e999999", "have the step 1E\\+999999, which must be at most 100"),
        ("lr=1979-05-27", r"--lr is datetime.date\(1979, 5, 27\); it must be a finite number"),
        ("opt=[1]", r"unknown optimizer '\[1\]'"),
        ("epochs=1\nseeds=[1, 2]", r"--epochs is 1\\nseeds=\[1, 2\]; it must be a whole number"),
        ("\udcff=1", r"--set is '\\udcff=1'; it must be text without NUL, and in UTF-8"),
    ],
    ids=range(9),
)
def test_a_setting_that_nobody_would_write_is_refused(setting, message):
    with pytest.raises(SparsifyError, match=message):
        load_study("quick", [setting])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is a named pipe, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device, not a file"),
        (Path.mkdir, "is a folder, not a file"),
        (lambda path: path.write_bytes(b"title = '\xff'"), r"is no UTF-8 text \(byte 9\); save it as UTF-8"),
        (lambda path: path.symlink_to("nothing"), "is a link to nothing, which is not there"),
    ],
    ids=["fifo", "device", "folder", "bytes", "broken link"],
)
def test_what_is_no_text_file_is_named(make: Callable[[Path], object], message: str, tmp_path: Path):
    make(tmp_path / "study.toml")
    with pytest.raises(SparsifyError, match=message):
        load_study(str(tmp_path / "study.toml"))


def test_the_name_of_a_study_is_that_of_a_folder_however_much_is_set():
    long = ["sweep.ratios=0,0.1,0.2,0.3,0.4,0.5", "augment=none", "precision=exact", "schedule=cosine"]
    long += ["batch_size=32", "epochs=40", "seeds=[0,1,2,3,4,5,6,7,8,9]", "sweep.controls=true", "sweep.draws=12"]
    long += ["weight_decay=0.001", "model=lenet"]
    one, other = (load_study("quick", [*long, f"val=0.{number}"]).name for number in (1, 2))
    assert len(one) == len(other) == 209
    assert one != other


def test_ten_thousand_arms_in_a_chain_are_read_and_planned_without_recursion(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(chain(10_000))
    study = load_study(str(path))
    assert study.in_order == tuple(f"a{number}" for number in range(10_000))


def test_a_lattice_of_arms_takes_no_longer_than_there_are_arms():
    first = load_study("quick").arms[0]
    arms = [Arm("a0", first.configs)]
    point = PointPlan(layers="conv3", ratio=0.5)
    for number in range(1, 200):  # 2 ** 100 ways from the last to the first
        init, mask = f"a{number - 1}", f"a{max(number - 2, 0)}"
        arms.append(Arm(f"a{number}", first.configs, init=init, mask=MaskOf(mask, point)))
    assert len(Study("it", "it", tuple(arms), ()).in_order) == 200


def test_a_chain_is_planned_without_recursion(tmp_path):
    path = tmp_path / "study.toml"
    path.write_text(chain(1500))
    plan = Planner(load_study(str(path)), Places(runs_dir=tmp_path / "runs")).plan()
    assert plan.trainings == 1500


def test_texts_that_do_not_end_are_searched_once():
    """Each of them was searched to the end of the file: 40 kB took 12 s."""
    with pytest.raises((SparsifyError, tomllib.TOMLDecodeError)):
        parse_toml('\\"""\n' * 200_000)


KEYS = st.text(string.ascii_letters + "_.", min_size=1, max_size=8)
SCALARS = st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(string.printable, max_size=8)


def toml(value: object) -> str:
    """A value as TOML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value) if isinstance(value, (bool, str)) else repr(value)


@given(KEYS, SCALARS | st.lists(SCALARS, max_size=3))
def test_a_setting_that_is_written_as_toml_is_read_again(key, value):
    assert parse_settings([f"{key}={toml(value)}"]) == {key: value}
    assert parse_settings([f" {key.replace('_', '-')} = {toml(value)} "]) == {key: value}


@given(st.tuples(KEYS, st.text("ab-_=.[]{}'\"\n #1e", max_size=8)).map("=".join) | st.text(max_size=20))
@example(" =1")
def test_any_text_is_a_setting_that_can_be_written_again_or_an_error_of_one_line(text):
    found = read_or_refused(lambda text: parse_settings([text]), text)
    if found is None:
        return
    ((key, value),) = found.items()
    assert key == key.strip() != ""
    written = text.partition("=")[2]
    if isinstance(value, str) and value == written:
        assert parse_settings([f"{key}={value}"]) == {key: value}
    else:
        assert parse_toml(f"value = {written}") == {"value": value}
        assert isinstance(value, dict) or parse_settings([f"{key}={toml(value)}"]) == {key: value}
