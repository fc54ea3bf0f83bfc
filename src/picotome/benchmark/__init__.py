"""The benchmark: a fixed, seeded table of how well atoms are found, set against the bound."""
