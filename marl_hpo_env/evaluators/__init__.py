"""What turns designs into trials: by training, from a table, from the store."""
