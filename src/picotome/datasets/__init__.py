"""Many particles at rest: which index, which seed, which file, what failed; and other people's data."""
