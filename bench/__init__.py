"""Benchmarks: what sgdscope is measured against. Not installed; run from the repository's root."""
