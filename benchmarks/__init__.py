"""The benchmarks: each is a ratio to a peer measured in the same run, interleaved with it."""
