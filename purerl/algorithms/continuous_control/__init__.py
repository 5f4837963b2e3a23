"""Q-learning with continuous actions: ways to maximise Q over them, by sampling or by actors, and discrete SAC."""
