"""Explanations: attention maps and weights, drawn over the input."""
