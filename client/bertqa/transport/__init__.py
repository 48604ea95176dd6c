"""Ways to reach a model: one contract, one module each."""
