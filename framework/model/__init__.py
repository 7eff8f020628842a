"""The framework's values: immutable, without I/O, the vocabulary of every other room."""
# Trees without cycles (gc=False): the garbage collector need not walk through a hundred thousand tasks.
