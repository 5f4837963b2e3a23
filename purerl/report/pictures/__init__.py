"""Pictures: learning curves of runs, and everything that can be drawn of a sweep."""
