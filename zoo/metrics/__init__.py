"""Metrics and the plain baselines beside them."""
