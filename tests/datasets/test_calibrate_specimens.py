"""What `calibrate` images: small particles with shells that leave a core."""

import pytest

from picotome.configs import load_recipe
from picotome.datasets.calibrate import _small_specimen


@pytest.mark.parametrize("shell", ["shell_monolayers: 8", "shell_thickness_A: 18"])
def test_shells_are_thinned_with_the_particle(shell):
    entry = f"{{kind: core_shell, relax: false, diameter_A: 48, {shell}}}"
    recipe = load_recipe("smoke", [f"specimens=[{entry}]", "volume.n_voxels=144"])
    specimen = _small_specimen(recipe.specimens[0], recipe=recipe, volume=recipe.volume, number=0)
    assert 50 < len(specimen.positions_A) < 250
    assert 0.02 < 1.0 - specimen.truth["is_shell"].mean() < 0.5
