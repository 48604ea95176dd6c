"""Copying a published version to another place: a directory, or a store that OVMS reads from."""
