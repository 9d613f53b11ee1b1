"""Recipes: how an architecture is trained on a dataset, one file each."""
