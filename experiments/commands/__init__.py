"""The command `marl-hpo`, one file per group of commands."""
