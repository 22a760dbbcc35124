"""The exit codes in the docstring are those of the classes."""

import re

from convscope import errors


def test_the_drawn_tree_is_the_real_one():
    drawn = dict(re.findall(r"^[├─└ ]*(\w+) +(\d+)  ", errors.__doc__ or "", re.MULTILINE))
    kinds = {
        name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert {name: int(code) for name, code in drawn.items()} == {name: kind.exit_code for name, kind in kinds.items()}
    assert all(issubclass(kind, errors.ConvscopeError) for kind in kinds.values())
