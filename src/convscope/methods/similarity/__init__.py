"""How alike two networks are: layer by layer, and channel by channel."""
