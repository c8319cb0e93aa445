"""Benchmarks: octavo, its peers and the raw limit of the machine, in one interleaved run."""
