"""What a dataset will take before it is made: time, memory, disk; and a refusal where it would not fit.

Counts of work come from the recipe (`work`) and unit costs from a short measurement on this machine
(`yardstick`); memory is a count of arrays (`memory`) beside the program. `forecast` puts them together.
"""
