"""Pairs made on the fly, on the training device: no disk, and never the same pair twice.

Processes ahead draw what has no pixels (`plans`: atoms, errors, dose); the device makes images (`images`),
reconstructs them (`project`, `solve`) and makes the ideal volumes (`ideal`), many particles at a time
(`pairs`). `feed` gives the batches to the training.
"""
