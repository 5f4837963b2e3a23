"""Sweeps: a space of settings, split into programs and chunks, trained to the end and kept in a directory."""
