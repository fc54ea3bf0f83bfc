"""Atoms against the images themselves: the image model, its fit, the noise and the bound."""
