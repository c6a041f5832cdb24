"""The game, and the three environments over it: turn-based, simultaneous, and with a single controller."""
