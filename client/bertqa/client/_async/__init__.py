"""The asynchronous client: the source that `bertqa.client._sync` is generated from."""
