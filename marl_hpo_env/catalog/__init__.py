"""Tasks by name: a network, its data, how it is trained and stopped, and what is rewarded."""
