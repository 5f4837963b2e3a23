"""Search: generations of trials that Optuna proposes, cut by successive halving along the agent axis."""
