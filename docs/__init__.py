"""The documentation site; what builds it is in `docs.machinery`."""
