"""The asynchronous transports: the source that `bertqa.transport._sync` is generated from."""
