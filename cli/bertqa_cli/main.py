"""The command `bert-qa`."""


def run() -> None:
    """Run the command line."""
