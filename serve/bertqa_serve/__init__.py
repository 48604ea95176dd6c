"""Starting a model server on a model repository."""
