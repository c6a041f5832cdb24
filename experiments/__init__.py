"""The command line of `marl_hpo_env`, comparisons of learners, and the measurements that the README shows."""
