"""How the particles of a dataset are made: by whom, on which machines, one run at a time, and checked."""
