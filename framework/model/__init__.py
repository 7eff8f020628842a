"""The framework's values: immutable, without I/O, the vocabulary of every other room."""
