"""Networks that tasks tune, where torchvision has none."""
