"""The Ctrl-C that were pressed: a library that one interrupts may swallow it."""

noted: list[int] = []
