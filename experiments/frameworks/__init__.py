"""Learners of other frameworks on the environment, one file each, which run by themselves."""
