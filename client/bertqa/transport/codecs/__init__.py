"""The messages of each protocol: one codec a file."""
