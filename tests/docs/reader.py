"""What a reader of the documentation does: calls a command, and expects that it ends well."""

from tests import called


def call(*arguments: str) -> None:
    """Run the command as the command line does."""
    assert called.call(*arguments) == 0, arguments
