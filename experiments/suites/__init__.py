"""The experiments whose results are committed: settings in one file each, and code where it is their own."""
