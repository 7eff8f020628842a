"""Runtimes: where the processes of a task run."""
