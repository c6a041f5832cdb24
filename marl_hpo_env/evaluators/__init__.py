"""What turns designs into trials: by training, on a cluster, from a table, from the store."""
