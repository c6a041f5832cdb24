"""Faults made on purpose, by the hundred: what becomes of trials, processes and files. `python -m experiments.faults`."""
