"""The command `bert-qa`."""
