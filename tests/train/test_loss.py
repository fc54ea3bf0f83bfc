"""The loss: what an error costs, at which atom."""

import pytest
import torch

from picotome.train.loss import peak_weighted_error


def atoms_of(*brightness, far_voxels=8, shift=0.0):
    """(1, 1, n, 9, 9): a row of atoms too far apart to touch, each moved along the row."""
    x = torch.arange(far_voxels * len(brightness) + 1.0)[:, None, None]
    yz = torch.arange(9.0) - 4
    peak = torch.exp(-(yz[:, None] ** 2 + yz**2) / 2 / 1.125**2)
    row = [
        b * torch.exp(-((x - far_voxels * (i + 0.5) - shift) ** 2) / 2 / 1.125**2)
        for i, b in enumerate(brightness)
    ]
    return (torch.stack(row).sum(dim=0) * peak)[None, None]


@pytest.mark.parametrize(("brightness", "plain"), [(0.45, 0.2), (0.17, 0.03)])
def test_a_picometre_costs_the_same_at_every_atom(brightness, plain):
    """Pd and Ni beside Pt; by the plain squared error they would cost `plain` of what Pt costs."""
    truth = atoms_of(1.0, brightness)
    moved = atoms_of(1.0, brightness, shift=0.1)
    half = truth.shape[2] // 2
    heavy, light = truth.clone(), truth.clone()
    heavy[:, :, :half], light[:, :, half:] = moved[:, :, :half], moved[:, :, half:]

    def ratio(peak_weight):
        costs = [float(peak_weighted_error(v, truth, peak_weight=peak_weight)) for v in (light, heavy)]
        return costs[0] / costs[1]

    assert ratio(0.0) == pytest.approx(plain, rel=0.05)
    assert ratio(100.0) == pytest.approx(1.0, rel=0.05)
    # The vacuum counts too, which little weight does not outdo.
    assert plain < ratio(0.5) < ratio(2.0) < 1.0


def test_an_atom_that_is_drawn_costs_what_one_costs_that_is_missed():
    two, three = atoms_of(1.0, 0.2, 0.0), atoms_of(1.0, 0.2, 0.2)
    costs = [float(peak_weighted_error(a, b, peak_weight=9.0)) for a, b in ((two, three), (three, two))]
    assert costs[0] == pytest.approx(costs[1])


def test_volumes_without_an_atom_have_an_error():
    nothing, atom = torch.zeros(1, 1, 16, 16, 16), atoms_of(1.0, 1.0)[..., :16, :, :]
    assert float(peak_weighted_error(nothing, nothing, peak_weight=3.0)) == 0
    assert torch.isfinite(peak_weighted_error(atom, torch.zeros_like(atom), peak_weight=3.0))


def test_the_tail_of_an_atom_beyond_the_border_is_no_faint_atom():
    """It would make every haze in the patch weigh as much as an atom that faint."""
    truth = atoms_of(1.0, 0.0, 1.0)
    cut, alone = truth[:, :, :18], atoms_of(1.0, 0.0, 0.0)[:, :, :18]
    assert 0.02 < float((cut - alone).max()) < 0.1
    haze = atoms_of(0.0, 0.03, 0.0)[:, :, :18]
    costs = [float(peak_weighted_error(t + haze, t, peak_weight=5.0)) for t in (cut, alone)]
    assert costs[0] == pytest.approx(costs[1], rel=0.05)


@pytest.mark.parametrize("chance", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("brightness", [(1.0, 0.17), (1.0, 1.0)])
@pytest.mark.parametrize("peak_weight", [2.0, 25.0])
def test_a_network_that_is_unsure_draws_the_chance_of_an_atom(chance, brightness, peak_weight):
    with_atom, without = atoms_of(*brightness, brightness[1]), atoms_of(*brightness, 0.0)
    atom = with_atom - without
    drawn = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.Adam([drawn], lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        for truth, odds in ((with_atom, chance), (without, 1 - chance)):
            (odds * peak_weighted_error(without + drawn * atom, truth, peak_weight=peak_weight)).backward()
        optimizer.step()
    assert float(drawn.detach()) == pytest.approx(chance, abs=0.04)


def test_each_volume_of_a_batch_has_its_own_brightest_voxel():
    ideal = torch.rand(2, 1, 8, 8, 8) * torch.tensor([1.0, 10.0]).reshape(2, 1, 1, 1, 1)
    repaired = torch.rand(2, 1, 8, 8, 8)
    both = peak_weighted_error(repaired, ideal, peak_weight=5.0)
    each = [peak_weighted_error(repaired[i : i + 1], ideal[i : i + 1], peak_weight=5.0) for i in (0, 1)]
    assert float(both) == pytest.approx(float(each[0] + each[1]) / 2, rel=1e-5)
