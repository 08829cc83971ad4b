"""Judging: what the checkpoint draws is read by a small network and held to the bars.

None of it is part of the recipe: it changes no weight of the checkpoint.
"""
