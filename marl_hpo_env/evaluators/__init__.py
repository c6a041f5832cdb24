"""What turns designs into trials: by training, on a cluster, from a table, by prediction, from the store."""
