"""The probe that a fit starts from; the images tell the rest. Near what they tell at usual optics."""

CORE_SIGMA_A = 0.4
TAIL_SIGMA_A = 0.9
TAIL_FRACTION = 0.15
