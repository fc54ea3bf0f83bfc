"""The physics of one particle: numbers in, arrays out. No files, no dask, no splits."""
