"""The command line `marl-hpo`, comparisons of learners, and the measurements that the README shows."""
