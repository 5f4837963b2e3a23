"""Learning a model and using it: planning in it, and training in it."""
