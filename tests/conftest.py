"""The shapes and types in convscope's signatures are checked on every call that a test makes."""

from jaxtyping import install_import_hook

from tests import typechecker

HOUSES = ("data", "models.resnet", "models.weights", "hooks", "paint", "train", "methods", "web")
install_import_hook([f"convscope.{house}" for house in HOUSES], f"{typechecker.__name__}.check")
