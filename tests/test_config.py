"""Config: what is out of range is refused in one line; equal values have one name, other values another."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, event, example, given
from hypothesis import strategies as st

from sparsify.config import NUMERICS, OPTIONS, OWN_OPTIONS, PRECISIONS, Config, without_place
from sparsify.data.registry import AUGMENTATIONS, DATASETS
from sparsify.errors import SparsifyError
from sparsify.files import sanitise, shortened
from sparsify.nets.losses import LOSSES
from sparsify.nets.registry import NAMES, NETS
from sparsify.optim.registry import OPTIMIZERS
from sparsify.optim.schedules import SCHEDULES
from sparsify.settings import Setting, Value, joined

INFINITE = [float("nan"), float("inf"), float("-inf")]


def refused(**values: Any) -> str:
    """The message with which these values are refused: one line."""
    with pytest.raises(SparsifyError) as caught:
        Config(**values)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---- names ----


@pytest.mark.parametrize(
    ("field", "wrong", "nearest", "choices"),
    [
        ("model", "lenett", "lenet", NAMES),
        ("opt", "slbi-adm", "slbi-adam", OPTIMIZERS),
        ("data", "minst", "mnist", DATASETS),
        ("schedule", "cosin", "cosine", SCHEDULES),
        ("decay_schedule", "cosin", "cosine", SCHEDULES),
        ("precision", "exakt", "exact", PRECISIONS),
        ("augment", "crop-flp", "crop-flip", ["none", *AUGMENTATIONS]),
        ("loss", "nlll", "nll", LOSSES),
    ],
)
def test_an_unknown_name_is_refused_with_the_choices_and_the_nearest(
    field: str, wrong: str, nearest: str, choices: Any
) -> None:
    message = refused(**{field: wrong})
    assert f"'{wrong}'" in message
    assert f"did you mean '{nearest}'?" in message
    assert ", ".join(choices) in message


@pytest.mark.parametrize("wrong", ["torchvision:", "torchvision", "torchvision.resnet18", "xtorchvision:resnet18"])
def test_a_network_of_torchvision_has_a_name(wrong: str) -> None:
    assert "torchvision:NAME" in refused(model=wrong)
    assert Config(model="torchvision:resnet18").name.startswith("torchvision-resnet18-auto-slbi-s0-")


@pytest.mark.parametrize("field", ["model", "opt", "data", "schedule", "precision"])
@pytest.mark.parametrize("wrong", ["", "zzzzzz", "LENET"])
def test_a_name_that_is_near_to_nothing_is_refused_with_the_choices(field: str, wrong: str) -> None:
    message = refused(**{field: wrong})
    assert f"'{wrong}'" in message
    assert "choose from: " in message


def test_a_folder_without_a_path_is_refused() -> None:
    assert "folder:photos" in refused(data="folder:")


# ---- numbers ----


TAKER = {"strength": "linbreg", "delta": "linbreg", "density": "adabreg"}  # slbi, the default, takes the others


@pytest.mark.parametrize("field", ["lr", "kappa", "mu", "path_scale", "delta"])
@pytest.mark.parametrize("wrong", [0, 0.0, -0.5, *INFINITE, True, "0.1"])
def test_rates_and_strengths_must_be_above_0_and_finite(field: str, wrong: Any) -> None:
    message = refused(**{"opt": TAKER.get(field, "slbi"), field: wrong})
    assert message.startswith(f"--{field.replace('_', '-')} is {f'{wrong:g}' if wrong == 0 else wrong};")


@pytest.mark.parametrize("field", ["momentum", "weight_decay", "strength"])
@pytest.mark.parametrize("wrong", [-0.5, *INFINITE, True, "0.1"])
def test_momentum_weight_decay_and_strength_must_be_at_least_0_and_finite(field: str, wrong: Any) -> None:
    message = refused(**{"opt": TAKER.get(field, "slbi"), field: wrong})
    assert message.startswith(f"--{field.replace('_', '-')} is {wrong};")


@pytest.mark.parametrize("wrong", [["mnist", "digits"], 3, None])
def test_a_data_set_is_named_by_text(wrong: Any) -> None:
    assert refused(data=wrong).startswith(f"unknown data set '{wrong}'; choose from: mnist")


@pytest.mark.parametrize("wrong", [0, -0.5, 1.5, *INFINITE, True, "0.1"])
def test_density_must_be_a_fraction_above_0(wrong: Any) -> None:
    assert refused(opt="linbreg", density=wrong).startswith(f"--density is {wrong};")
    assert Config(opt="linbreg", density=1).density == 1


def test_the_weights_of_another_run_are_taken_as_they_are() -> None:
    assert Config(opt="linbreg", init="a-run").density == 1
    assert Config(opt="linbreg", init="a-run", density=1) == Config(opt="linbreg", init="a-run")
    assert dataclasses.replace(Config(opt="linbreg"), init="a-run") == Config(opt="linbreg", init="a-run")
    assert refused(opt="linbreg", init="a-run", density=0.5) == (
        "--density 0.5 has no effect with --init: the run's weights are taken as they are"
    )


@pytest.mark.parametrize("wrong", [1, 1.5])
def test_momentum_must_be_below_1(wrong: float) -> None:
    assert refused(momentum=wrong) == f"--momentum is {wrong:g}; it must be below 1"


@pytest.mark.parametrize("field", ["epochs", "batch_size"])
@pytest.mark.parametrize("wrong", [0, -1, 1.0, 2.5, True, "3", None, *INFINITE])
def test_epochs_and_batch_size_must_be_whole_and_at_least_1(field: str, wrong: Any) -> None:
    flag = f"--{field.replace('_', '-')}"
    assert refused(**{field: wrong}) == f"{flag} is {wrong}; it must be a whole number of at least 1"


@pytest.mark.parametrize("wrong", [-1, 0.0, 1.5, True, "0", None])
def test_seed_must_be_whole_and_at_least_0(wrong: Any) -> None:
    assert refused(seed=wrong) == f"--seed is {wrong}; it must be a whole number of at least 0"


def test_seed_must_be_below_2_to_the_63() -> None:
    assert Config(seed=2**63 - 1).seed == 2**63 - 1
    assert str(2**63) in refused(seed=2**63)


@pytest.mark.parametrize(
    ("field", "wrong"), [("epochs", 10**6 + 1), ("batch_size", 2**31), ("lr", 2e30), ("mu", 1e-31)]
)
def test_what_no_training_can_hold_is_refused(field: str, wrong: Any) -> None:
    assert f"{wrong:g}" in refused(**{field: wrong}) or str(wrong) in refused(**{field: wrong})


def test_options_whose_product_overflows_are_refused() -> None:
    assert "32-bit" in refused(kappa=1e30, lr=1.0, mu=1e-5)
    assert "32-bit" in refused(opt="linbreg", delta=1e20, lr=1e20)


@pytest.mark.parametrize("wrong", [-0.1, 1, 1.0, 2.5, *INFINITE, True, "0.1", None])
def test_val_must_be_a_fraction_below_1(wrong: Any) -> None:
    assert refused(val=wrong).startswith(f"--val is {wrong};")


# ---- options that the optimizer ignores ----


@pytest.mark.parametrize(
    ("opt", "option"), [(opt, o) for opt, spec in OPTIMIZERS.items() for o in OPTIONS if o not in spec.defaults]
)
def test_an_option_that_the_optimizer_ignores_is_refused_with_those_that_take_it(opt: str, option: str) -> None:
    message = refused(opt=opt, **{option: 0.5})
    assert message.startswith(f"--{option.replace('_', '-')} 0.5 has no effect with --opt {opt};")
    takers = [name for name, spec in OPTIMIZERS.items() if option in spec.defaults]
    assert message.endswith(": " + ", ".join(takers))


def test_sgd_has_no_mu() -> None:
    assert refused(opt="sgd", mu=5) == (
        "--mu 5 has no effect with --opt sgd; it is an option of: sgd-pull, slbi, slbi-adam, adam-pull, random-release"
    )


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_options_left_out_are_the_optimizers_defaults_and_none_where_it_has_none(opt: str) -> None:
    config = Config(opt=opt)
    assert {name: getattr(config, name) for name in ("lr", *OPTIONS)} == {
        name: OPTIMIZERS[opt].defaults.get(name) for name in ("lr", *OPTIONS)
    }


# ---- identity and name ----


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_an_explicit_default_is_the_same_config_with_the_same_name(opt: str) -> None:
    implicit = Config(opt=opt)
    for name, value in implicit.to_dict().items():
        explicit = Config(**{"opt": opt, name: value})
        assert explicit == implicit
        assert explicit.name == implicit.name
        assert hash(explicit) == hash(implicit)


def test_a_whole_number_is_the_same_rate_as_its_float() -> None:
    assert Config(mu=5) == Config(mu=5.0)
    assert Config(mu=5).name == Config(mu=5.0).name
    assert Config(val=0).name == Config(val=0.0).name


@pytest.mark.parametrize(
    "values",
    [
        {"data": 5},
        {"data": None},
        {"model": ["lenet"]},
        {"lr": 10**400},
        {"data": "folder:a\0b"},
        {"init": 5},
        {"init": ""},
        {"record": [["loss"]]},
    ],
    ids=["data is a number", "data is None", "a list", "too large", "null byte", "init", "empty init", "record"],
)
def test_what_a_file_of_settings_can_hold_is_refused_in_one_line(values: dict[str, Any]) -> None:
    refused(**values)


def test_the_home_of_an_unknown_user_is_refused_or_taken_literally() -> None:
    with contextlib.suppress(SparsifyError):
        Config(data="folder:~no-such-user/photos")


def test_minus_zero_is_zero() -> None:
    assert Config(momentum=-0.0) == Config(momentum=0.0)
    assert Config(momentum=-0.0).name == Config(momentum=0.0).name


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_the_name_is_net_data_opt_seed_and_8_hex_digits(opt: str) -> None:
    name = Config(opt=opt, data="fashion-mnist", seed=7).name
    assert re.fullmatch(rf"lenet-fashion-mnist-{opt}-s7-[0-9a-f]{{8}}", name)


def test_the_digest_is_that_of_the_fields_that_differ_and_numerics() -> None:
    # by hand, so that a name is the same in every process and a new field with a default renames no old run
    text = json.dumps({"epochs": 3, "mu": 5.0, "numerics": NUMERICS, "opt": "slbi"})
    assert Config(epochs=3, mu=5).digest() == hashlib.sha256(text.encode()).hexdigest()[:8]


def test_every_field_that_changes_changes_the_name() -> None:
    other = {
        "model": "vgg-a",
        "data": "digits",
        "resize": 32,
        "normalise": False,
        "opt": "sgd-pull",
        "epochs": 21,
        "batch_size": 127,
        "lr": 0.2,
        "momentum": 0.8,
        "weight_decay": 0.1,
        "kappa": 2.0,
        "mu": 21.0,
        "path_scale": 2.0,
        "strength": 0.2,
        "delta": 2.0,
        "density": 0.2,
        "structure": "bn-scale",
        "schedule": "constant",
        "decay_schedule": "cosine",
        "augment": "crop-flip",
        "loss": "nll",
        "label_smoothing": 0.1,
        "seed": 1,
        "val": 0.1,
        "init": "a-run",
        "pretrained": True,
        "mask": "a-mask",
        "release": "a-run",
        "mask_from": 1,
        "precision": "fast",
        "record": "loss",
    }
    assert list(other) == [field.name for field in dataclasses.fields(Config) if field.name not in OWN_OPTIONS]
    decays = {"opt": "adamw"}  # of the defaults, whose weight decay is not 0
    needs = {
        "mask_from": {"mask": "a-mask"},
        "decay_schedule": decays,
        "pretrained": {"model": "torchvision:resnet18"},
        "release": {"opt": "random-release"},
    }
    options = [{"opt": TAKER.get(name, "slbi"), name: value, **needs.get(name, {})} for name, value in other.items()]
    configs = [
        *(Config(opt=opt) for opt in ("slbi", "linbreg", "adabreg", "adamw", "random-release")),
        *(Config(**given) for given in options),
    ]
    assert len({config.name for config in configs}) == 5 + len(other)


def test_a_schedule_of_a_decay_that_is_0_or_that_the_optimizer_lacks_is_refused() -> None:
    assert refused(opt="sgd", decay_schedule="cosine") == "--decay-schedule cosine has no effect with --weight-decay 0"
    message = refused(opt="rprop", decay_schedule="cosine")
    assert message.startswith("--decay-schedule cosine has no effect with --opt rprop; it is an option of: sgd, ")
    message = refused(opt="adamw", decay_schedule="cosine", decay_schedule_options="gamma=2")
    assert message == "--decay-schedule-options gamma: cosine has no options"


def test_a_decay_that_stays_renames_no_run() -> None:
    options = {"opt": "adamw", "weight_decay": 0.1}
    before = Config(**options)
    assert Config(**options, decay_schedule="constant") == before
    other = Config(**options, decay_schedule="multi-step")
    assert other.name != before.name
    assert Config(**options, decay_schedule="multi-step", decay_schedule_options="gamma=0.1") == other  # the default


def another(setting: Setting) -> Value:
    """A value that an option can have, other than its default."""
    default = setting.default
    if isinstance(default, bool):
        return not default
    if isinstance(default, str):
        return next(choice for choice in setting.choices if choice != default)
    if isinstance(default, tuple):
        return tuple(part + 1 for part in default)
    if isinstance(default, int):
        return default + 1
    return default / 2 if default > setting.least else (setting.least + min(setting.below, setting.most)) / 2


@pytest.mark.parametrize("model", NETS)
def test_every_option_of_a_network_changes_the_name_and_those_at_their_defaults_change_none(model: str) -> None:
    settings = NETS[model].settings
    assert all(setting.help for setting in settings.values())
    plain = Config(model=model)
    defaults = {name: setting.default for name, setting in settings.items()}
    assert Config(model=model, net=defaults) == plain  # type: ignore[arg-type]  # a table becomes a text
    assert Config(model=model, net=joined(defaults)).name == plain.name
    names = {plain.name}
    for name, setting in settings.items():
        value = another(setting)
        config = Config(model=model, net={name: value})  # type: ignore[arg-type]
        assert config.net == joined({name: value})
        assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        names.add(config.name)
    assert len(names) == 1 + len(settings)


@pytest.mark.parametrize("wrong", [-0.1, 1, 1.5, *INFINITE, True, "0.1", None])
def test_label_smoothing_must_be_a_fraction_below_1_and_is_of_the_cross_entropy(wrong: Any) -> None:
    assert refused(label_smoothing=wrong).startswith(f"--label-smoothing is {wrong}; it must be a f")
    assert refused(label_smoothing=0.1, loss="nll") == (
        "--label-smoothing 0.1 has no effect with --loss nll; it is of cross-entropy"
    )
    assert Config(label_smoothing=0) == Config()


@pytest.mark.parametrize("wrong", [0, -1, 4097, 32.0, True, "32"])
def test_resize_must_be_a_whole_number_of_pixels(wrong: Any) -> None:
    assert refused(resize=wrong).startswith(f"--resize is {wrong}; it must be ")
    assert Config(resize=4096).resize == 4096


@pytest.mark.parametrize("field", ["normalise", "pretrained"])
@pytest.mark.parametrize("wrong", [0, 1, None, "true"])
def test_a_switch_must_be_true_or_false(field: str, wrong: Any) -> None:
    assert refused(**{field: wrong}) == f"--{field} is {wrong}; it must be true or false"


def test_augmentations_that_mean_the_same_are_one_config() -> None:
    assert Config(augment="mirror:0.5+crop:1.0") == Config(augment="mirror+crop")
    assert Config(augment="mirror+crop").name != Config(augment="crop+mirror").name
    assert "stands alone" in refused(augment="none+crop")


def test_trained_weights_are_for_networks_that_have_some() -> None:
    assert refused(pretrained=True).startswith("--pretrained: lenet has no trained weights; these networks have: ")
    assert refused(pretrained=True).endswith("torchvision:NAME")
    model = "torchvision:resnet18"
    assert refused(model=model, pretrained=True, init="a-run") == (
        "--pretrained has no effect with --init a-run: the run's weights are taken as they are"
    )
    assert Config(model=model, pretrained=True, opt="linbreg").density == 1
    assert refused(model=model, pretrained=True, opt="linbreg", density=0.5) == (
        "--density 0.5 has no effect with --pretrained: the weights are taken as they are"
    )


def test_a_structure_is_for_the_optimizers_that_couple() -> None:
    takers = "it is an option of: sgd-pull, slbi, slbi-adam, adam-pull, random-release"
    assert refused(opt="sgd", structure="bn-scale") == f"--structure bn-scale has no effect with --opt sgd; {takers}"
    assert refused(opt="linbreg", structure="bn-scale").endswith(takers)
    assert refused(structure="bn").startswith("unknown structure 'bn'")
    assert Config(opt="sgd", structure="grains") == Config(opt="sgd")


def test_a_mask_that_applies_later_needs_a_mask_and_epochs_under_it() -> None:
    assert refused(mask_from=3) == "--mask-from 3 has no effect without --mask"
    assert refused(mask="m", mask_from=20) == "--mask-from is 20; it must be below --epochs 20"
    assert refused(mask="m", mask_from=-1) == "--mask-from is -1; it must be a whole number of at least 0"
    assert Config(mask="m", mask_from=19).mask_from == 19


def test_a_folders_name_is_its_last_part_and_its_path_is_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = Config(data="folder:My Photos")
    assert config.data == f"folder:{tmp_path.resolve() / 'My Photos'}"
    assert config.name.startswith("lenet-folder-my-photos-slbi-s0-")
    assert config == Config(data=f"folder:{tmp_path / 'elsewhere' / '..' / 'My Photos'}")
    other = Config(data=f"folder:{tmp_path / 'elsewhere' / 'My Photos'}")
    assert other.data_name == config.data_name
    assert other.name != config.name


def test_from_dict_refuses_an_unknown_setting_with_the_nearest() -> None:
    with pytest.raises(SparsifyError, match=r"unknown setting 'batchsize'; did you mean 'batch_size'\?"):
        Config.from_dict({"batchsize": 3})


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().lr = 1.0


positive = st.floats(1e-6, 1e6)  # far from where their products leave 32-bit numbers
OPTION_VALUES = {
    "lr": positive,
    "kappa": positive,
    "mu": positive | st.integers(1, 1000),
    "path_scale": positive,
    "momentum": st.floats(min_value=0.0, max_value=1.0, exclude_max=True),
    "weight_decay": st.floats(0.0, 1e6),
    "strength": st.floats(0.0, 1e6),
    "delta": positive,
    "density": st.floats(0.0, 1.0, exclude_min=True),
}
folder_names = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=("Cs",)), min_size=1, max_size=20)


CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")


@st.composite
def configs(draw: st.DrawFn, *, few: bool = False) -> Config:
    """Any Config; `few` draws from so few values that two of them are often equal."""
    opt = draw(st.sampled_from(["sgd", "slbi-adam"] if few else list(OPTIMIZERS)))
    values: dict[str, Any] = {"opt": opt}
    init = draw(st.none() if few else st.none() | st.text(CHARACTERS, min_size=1, max_size=20))
    for name, default in OPTIMIZERS[opt].defaults.items():
        if few:
            values[name] = draw(st.sampled_from([None, default] if name != "lr" else [None, default, 0.5]))
        elif draw(st.booleans()) and not (name == "density" and init):
            values[name] = draw(OPTION_VALUES[name])
    return Config(
        **values,
        model=draw(
            st.just("lenet")
            if few
            else st.sampled_from(["lenet", "vgg-a"]) | folder_names.map(lambda name: f"torchvision:{name}")
        ),
        data=draw(
            st.sampled_from(["auto", "digits"])
            if few
            else st.sampled_from(["auto", *DATASETS]) | folder_names.map(lambda name: f"folder:{name}")
        ),
        epochs=draw(st.integers(1, 2 if few else 10**6)),
        batch_size=draw(st.just(128) if few else st.integers(1, 10**6)),
        schedule=draw(st.just("step") if few else st.sampled_from(list(SCHEDULES))),
        seed=draw(st.integers(0, 0 if few else 2**63 - 1)),
        val=draw(st.sampled_from([0, 0.0]) if few else st.floats(0.0, 1.0, exclude_max=True)),
        init=init,
        precision=draw(st.just("exact") if few else st.sampled_from(PRECISIONS)),
    )


@given(configs())
def test_to_dict_and_from_dict_are_inverse_through_json_too(config: Config) -> None:
    values = config.to_dict()
    assert list(values) == [field.name for field in dataclasses.fields(Config)]
    assert Config.from_dict(values) == config
    read_back = Config.from_dict(json.loads(json.dumps(values)))
    assert read_back == config
    assert read_back.name == config.name


@given(configs(few=True), configs(few=True))
def test_configs_are_equal_exactly_when_their_names_are(a: Config, b: Config) -> None:
    event(f"equal: {a == b}")
    assert (a == b) == (a.name == b.name)
    assert a != b or hash(a) == hash(b)


@given(configs(), st.sampled_from(["epochs", "batch_size", "seed", "lr"]))
def test_a_changed_field_changes_the_name(config: Config, field: str) -> None:
    value = getattr(config, field)
    changed = value + 1 if field != "lr" else value / 2
    assume(changed != value and (field != "epochs" or changed <= 10**6) and changed < 2**63)
    assert dataclasses.replace(config, **{field: changed}).name != config.name


@given(configs())
def test_a_name_is_one_part_of_a_path(config: Config) -> None:
    assert Path(config.name).name == config.name
    assert re.fullmatch(r"[a-z0-9._-]{1,120}", config.name)


@given(st.text())
@example("..")
@example("../../etc/passwd")
@example("..\\..\\autoexec")
@example("/")
@example("")
@example("a/../b")
@example("\0")
@example("x" * 500)
def test_sanitise_never_leaves_a_folder(text: str) -> None:
    safe = sanitise(text)
    assert re.fullmatch(r"[a-z0-9._-]{1,40}", safe)
    assert safe not in (".", "..")
    assert not safe.startswith((".", "-"))
    assert Path(safe).name == safe


def test_long_names_that_differ_at_the_end_stay_two() -> None:
    one, other = (shortened(f"features.denseblock1.denselayer1.conv{number}") for number in (1, 2))
    assert one != other
    assert one.startswith("features.denseblock1.denselayer1-")
    assert shortened("filters-conv3-0.6") == "filters-conv3-0.6"


@given(st.text(alphabet="abc019._-", min_size=1, max_size=40))
def test_sanitise_keeps_what_is_safe(text: str) -> None:
    assume(text.strip("-.") == text and "--" not in text)
    assert sanitise(text) == text


def test_a_config_is_shown_as_the_call_that_makes_it_without_the_defaults() -> None:
    assert repr(Config(data="digits")) == "Config(model='lenet', data='digits', opt='slbi')"
    config = Config(data="digits", opt="linbreg", lr=0.25, init="a run")
    assert repr(config) == "Config(model='lenet', data='digits', opt='linbreg', lr=0.25, density=1.0, init='a run')"
    assert eval(repr(config)) == config


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("data", "folder:/home/me/photos", "folder:photos"),
        ("data", "folder:/", "folder:root"),
        ("data", "mnist", "mnist"),
        ("init", "/home/me/runs/lenet@0a1b2c3d", "lenet@0a1b2c3d"),
        ("init", "../me/lenet/", "lenet"),
        ("init", "lenet", "lenet"),
        ("mask", "/home/me/runs/lenet/mask.safetensors@0a1b2c3d", "lenet/mask.safetensors@0a1b2c3d"),
        ("mask", "/mask.safetensors", "mask.safetensors"),
        ("lr", 0.1, 0.1),
        ("init", None, None),
    ],
)
def test_what_is_shared_of_a_setting_does_not_say_where_it_is(name: str, value: object, shown: object) -> None:
    assert without_place(name, value) == shown
