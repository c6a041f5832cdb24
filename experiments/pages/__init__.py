"""What the pages say in figures, part by part; `experiments/documentation.py` says which part is which."""
