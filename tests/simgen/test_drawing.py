"""Laws of ranges, held against scipy's distributions."""

import numpy as np
import pytest
from scipy import stats

from picotome.configs.fields import Spread
from picotome.configs.specimens import WulffSpecimen
from picotome.simgen.drawing import draw_from, settle

LAWS = {
    "uniform": stats.uniform(2.0, 6.0),
    "log": stats.loguniform(2.0, 8.0),
    "normal": stats.truncnorm(-2.0, 2.0, loc=5.0, scale=1.5),
}


@pytest.mark.parametrize("law", sorted(LAWS))
def test_each_law_is_the_one_of_its_name(law):
    rng = np.random.default_rng(1)
    drawn = np.array([draw_from(Spread((2.0, 8.0), law), rng=rng) for _ in range(2000)])
    assert stats.kstest(drawn, LAWS[law].cdf).pvalue > 0.01
    assert drawn.min() >= 2.0 and drawn.max() <= 8.0


def test_settling_leaves_plain_ranges_and_fixes_the_others():
    text = {
        "kind": "wulff",
        "diameter_A": {"log": [10, 20]},
        "modifiers": [{"kind": "strain", "xx": {"normal": [0, 0.02]}}],
    }
    config = WulffSpecimen.model_validate(text)
    settled = settle(config, rng=np.random.default_rng(0))
    low, high = settled.diameter_A
    assert low == high and 10 < low < 20
    low, high = settled.modifiers[0].xx
    assert low == high and 0 < low < 0.02
    assert settle(settled, rng=np.random.default_rng(0)) is settled
