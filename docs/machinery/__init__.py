"""What the documentation site generates from the package: pages, tables, links to files of the repository."""
