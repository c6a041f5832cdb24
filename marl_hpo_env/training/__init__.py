"""The training engine: a network, data and a recipe in, a trained network and its trial out."""
