"""The original networks of the built-in tasks: ordinary torch modules that know nothing of this package."""
