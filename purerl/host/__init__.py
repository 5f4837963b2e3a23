"""The host side of a run: compiling, looking after memory, interruptions and the loop over groups."""
