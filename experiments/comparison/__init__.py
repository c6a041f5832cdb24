"""Learners against each other: runs, statistics and reports."""
