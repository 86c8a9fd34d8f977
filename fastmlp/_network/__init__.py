"""The description of a network: its shape, activations, losses, optimizers and their options."""
