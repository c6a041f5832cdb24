"""Any torch network as a search space, and any design of it as a torch network."""
