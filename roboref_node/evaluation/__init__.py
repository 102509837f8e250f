"""Metrics, benchmarks and published scorers."""
