"""Algorithms of others that play the same game, one file each."""
