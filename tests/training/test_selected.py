"""The sparse networks of a training that selects: literal ones, and weights that come back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sparsify.nets.mask import replaced
from sparsify.optim import prox_sgd, slbi
from sparsify.training.selected import gamma_weights, support_weights


class Tiny(nn.Module):
    """Two filters of two weights each, and a fully connected layer of 1×2, with a bias each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, (1, 2)), nn.Linear(2, 1)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[3.0, 4], [1, 2]])[:, None, None])
            self.fc.weight.copy_(torch.tensor([[5.0, 6]]))


def stepped() -> tuple[Tiny, slbi.SLBI]:
    """Z has the norms 5 and 0.5, and the values −3 and 1; Γ is 2·prox(Z)."""
    model = Tiny()
    optimizer = slbi.SLBI(model.named_parameters(), kappa=2.0)
    optimizer.state[model.conv.weight]["z"] = torch.tensor([[3.0, 4], [0.3, 0.4]])[:, None, None]
    optimizer.state[model.fc.weight]["z"] = torch.tensor([[-3.0, 1]])
    return model, optimizer


def rows(weights: dict[str, Tensor]) -> dict[str, list]:
    return {name: weight.reshape(len(weight), -1).tolist() for name, weight in weights.items()}


def test_what_is_outside_the_support_is_0_and_biases_are_not_in_it():
    assert rows(support_weights(*stepped())) == {"conv.weight": [[3, 4], [0, 0]], "fc.weight": [[5, 0]]}


def test_gamma_is_kappa_times_the_prox_of_z():
    """‖(3, 4)‖ = 5 shrinks to 4, and −3 to −2."""
    found = rows(gamma_weights(*stepped()))
    assert found["conv.weight"][0] == pytest.approx([2 * 3 * 4 / 5, 2 * 4 * 4 / 5])
    assert found["conv.weight"][1] == [0, 0]
    assert found["fc.weight"] == [[-4, 0]]


def test_of_weights_that_are_sparse_themselves_nothing_is_outside():
    model = Tiny()
    with torch.no_grad():
        model.conv.weight[1] = 0
    optimizer = prox_sgd.ProxSGD(model.named_parameters())
    assert rows(support_weights(model, optimizer)) == {"conv.weight": [[3, 4], [0, 0]], "fc.weight": [[5, 6]]}


def test_the_weights_come_back_even_after_an_error():
    model, optimizer = stepped()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def use() -> None:
        with replaced(model, support_weights(model, optimizer)):
            assert not model.conv.weight[1].any()
            raise KeyError

    with pytest.raises(KeyError):
        use()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
