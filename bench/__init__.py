"""Benchmarks: ratios measured in one run, a card for people, one line of JSON for programs."""
