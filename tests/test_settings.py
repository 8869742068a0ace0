"""Options of networks, optimizers and schedules: how they are read, refused, and written in one form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsify.errors import SparsifyError
from sparsify.settings import Setting, as_text, joined, settings_of, values_of

SETTINGS = {
    "norm": Setting(default="none", choices=("none", "batch")),
    "dropout": Setting(default=0.0, least=0, below=1),
    "kernels": Setting(default=(5, 5), least=1),
    "hidden": Setting(default=100, least=1),
    "nesterov": Setting(default=False),
    "betas": Setting(default=(0.9, 0.999), least=0, below=1),
    "milestones": Setting(default=(10, 20), any_count=True, least=1),
}
DEFAULTS = {name: setting.default for name, setting in SETTINGS.items()}


def text(given: object) -> str:
    return as_text("--net", "mlp", given, SETTINGS)  # type: ignore[arg-type]


def refused(given: object) -> str:
    with pytest.raises(SparsifyError) as error:
        text(given)
    return str(error.value)


def test_what_is_not_given_is_at_its_default() -> None:
    assert values_of("--net", "mlp", "", SETTINGS) == DEFAULTS
    assert values_of("--net", "mlp", "hidden=3", SETTINGS) == DEFAULTS | {"hidden": 3}


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ("dropout=0.3", {"dropout": 0.3}),
        (" norm = batch , dropout=1e-1 ", {"norm": "batch", "dropout": 0.1}),
        ("kernels=5+3", {"kernels": (5, 3)}),
        ("betas=0+0.5", {"betas": (0.0, 0.5)}),
        ("milestones=3", {"milestones": (3,)}),
        ({"milestones": 3}, {"milestones": (3,)}),
        ({"milestones": [3, 1, 4, 1]}, {"milestones": (3, 1, 4, 1)}),
        ("nesterov=true", {"nesterov": True}),
        ({"kernels": [5, 3], "dropout": 0, "nesterov": True}, {"kernels": (5, 3), "nesterov": True}),
    ],
)
def test_a_text_and_a_table_say_the_same(given: object, values: dict[str, object]) -> None:
    found = values_of("--net", "mlp", given, SETTINGS)  # type: ignore[arg-type]
    assert found == DEFAULTS | values
    assert all(type(found[name]) is type(DEFAULTS[name]) for name in found)
    assert values_of("--net", "mlp", text(given), SETTINGS) == found


def test_the_text_has_the_order_of_the_settings_and_no_defaults() -> None:
    assert text("hidden=0100,dropout=0,norm=batch") == "norm=batch"
    assert text("hidden=3,kernels=1+2,norm=batch") == text({"norm": "batch", "hidden": 3, "kernels": [1, 2]})
    assert text("hidden=3,kernels=1+2,norm=batch") == "norm=batch,kernels=1+2,hidden=3"
    assert joined({"kernels": [5, 3], "on": True}) == "kernels=5+3,on=true"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("drop=0.3", "unknown option of mlp 'drop' in --net; did you mean 'dropout'? choose from: norm, dropout, "),
        ("norm=layer", "--net norm is layer; it must be one of none, batch"),
        ("dropout=1", "--net dropout is 1; it must be a number of at least 0 and below 1"),
        ("dropout=nan", "--net dropout is nan; it must be a number of at least 0 and below 1"),
        ("hidden=2.5", "--net hidden is 2.5; it must be a whole number of at least 1"),
        ({"hidden": 2.0}, "--net hidden is 2.0; it must be a whole number of at least 1"),
        ({"hidden": True}, "--net hidden is True; it must be a whole number of at least 1"),
        ("kernels=5", "--net kernels is 5; it must be 2 whole numbers, as in 5+5, each of at least 1"),
        ("kernels=5+3+3", "--net kernels is 5+3+3; it must be 2 whole numbers, as in 5+5, each of at least 1"),
        (
            "milestones=3+0",
            "--net milestones is 3+0; it must be one or more whole numbers, as in 10+20, each of",
        ),
        ({"milestones": []}, "--net milestones is []; it must be one or more whole numbers, as in 10+20, each of at "),
        (
            "milestones=3+",
            "--net milestones is 3+; it must be one or more whole numbers, as in 10+20, each of",
        ),
        ("nesterov=1", "--net nesterov is 1; it must be true or false"),
        ("dropout", "--net has 'dropout'; write NAME=VALUE,NAME=VALUE"),
        ("hidden=3,hidden=4", "--net sets hidden twice"),
        (3, "--net is 3; it must be options with values, as in NAME=VALUE,NAME=VALUE"),
        (f"hidden={'9' * 9000}", "--net is 'hidden=999"),
        ({"hidden": "9" * 900}, "--net hidden is 999"),
    ],
)
def test_what_an_option_cannot_be_is_refused_in_one_line(given: object, error: str) -> None:
    assert refused(given).startswith(error)


@pytest.mark.parametrize("given", [{"norm": "batch,hidden=5"}, {"norm=batch,hidden": 5}])
def test_a_table_sets_no_second_option_by_the_way(given: dict[str, object]) -> None:
    with pytest.raises(SparsifyError, match="have no comma and no ="):
        joined(given)


def test_a_network_without_options_says_so() -> None:
    with pytest.raises(SparsifyError, match=r"^--net width: lenet has no options$"):
        as_text("--net", "lenet", "width=2", {})


def test_the_settings_of_a_function_are_its_numbers_and_switches_at_their_defaults() -> None:
    def function(
        needed: float,
        rate: float = 0,
        count: int = 3,
        quoted: "int" = 4,
        on: bool = False,
        pair: tuple[float, float] = (1, 0.5),
        name: str = "a",
        nothing: float | None = None,
        half: tuple[float | None, float] = (None, 0.5),
        left: float = 0.5,
    ) -> None: ...

    found = {name: setting.default for name, setting in settings_of(function, without=("left",)).items()}
    assert found == {"rate": 0.0, "count": 3, "quoted": 4, "on": False, "pair": (1.0, 0.5)}
    assert [type(value) for value in found.values()] == [float, int, int, bool, tuple]
    assert type(found["pair"][0]) is float  # type: ignore[index]
    assert (
        settings_of(function, without=(), least=1)["count"].wanted == "a whole number of at least 1 and at most 1e+09"
    )


@given(st.text())
def test_any_text_is_read_or_refused(given: str) -> None:
    try:
        values_of("--net", "mlp", given, SETTINGS)
    except SparsifyError:
        pass
    else:
        assert text(text(given)) == text(given)
