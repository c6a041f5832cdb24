"""Readers of data sets, and their division into training, validation and test."""
