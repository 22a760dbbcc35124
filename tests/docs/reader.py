"""What a reader of the documentation does: calls a command, and expects that it ends well."""

from convscope.cli import main


def call(*arguments: str) -> None:
    """Run the command as the command line does."""
    try:
        main([*arguments])
    except SystemExit as end:
        assert not end.code, arguments
