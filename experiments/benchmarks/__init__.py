"""Measurements of this package beside a named peer, in one run."""
