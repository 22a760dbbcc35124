"""The commands that list what there is: a network's layers, and the names that other commands take."""

from __future__ import annotations

from convscope.command_line.console import print_results
from convscope.command_line.flags import DEFAULT_OUTPUT, DEFAULT_SUBJECT, NetworkName, Output, SubjectFlags
from convscope.command_line.subject import open_subject


def layers(
    network: NetworkName, /, *, subject: SubjectFlags = DEFAULT_SUBJECT, output: Output = DEFAULT_OUTPUT
) -> None:
    """List a network's layers with output shapes and parameters."""
    from convscope.hooks import list_layers

    opened = open_subject(network, subject).network
    found = list_layers(opened.model, opened.input_size, channels=len(opened.mean))
    rows: dict[str, str] = {}
    for layer in found:
        words = (layer.kind, layer.detail, "×".join(map(str, layer.output_shape)), f"{layer.parameters} parameters")
        rows[layer.name] = " ".join(word for word in words if word)
    rows["parameters"] = str(sum(parameter.numel() for parameter in opened.model.parameters()))
    print_results(rows, as_json=output.json)


def datasets(*, output: Output = DEFAULT_OUTPUT) -> None:
    """List the datasets."""
    from convscope.data import DATASETS

    print_results({name: entry.summary for name, entry in DATASETS.items()}, as_json=output.json)


def models(*, output: Output = DEFAULT_OUTPUT) -> None:
    """List the models."""
    from convscope.models import MODELS

    others = {
        "torchvision:NAME": "any classifier of torchvision, such as torchvision:vgg11",
        "timm:NAME": "any classifier of timm, such as timm:resnet26d",
        "huggingface:PLACE": "an image classifier of Hugging Face: a folder of yours, or a name on its hub",
        "MODULE:FUNCTION": "a function of yours that gives a convscope.Network or a torch.nn.Module",
    }
    print_results({name: entry.summary for name, entry in MODELS.items()} | others, as_json=output.json)


def methods(*, output: Output = DEFAULT_OUTPUT) -> None:
    """List the methods that draw pictures."""
    from convscope.methods import METHODS

    print_results({name: entry.summary for name, entry in METHODS.items()}, as_json=output.json)


def loggers(*, output: Output = DEFAULT_OUTPUT) -> None:
    """List the tools that --log passes a training on to."""
    from convscope.loggers import LOGGERS

    print_results({name: entry.summary for name, entry in LOGGERS.items()}, as_json=output.json)


def recipes(name: str | None = None, /, *, output: Output = DEFAULT_OUTPUT) -> None:
    """List the recipes, or every value of one.

    Parameters
    ----------
    name
        A recipe's name or TOML file.
    """
    from convscope.training.recipe_values import flat_values
    from convscope.training.recipes import RECIPES, get_recipe

    if name is None:
        print_results({known: each.summary for known, each in RECIPES.items()}, as_json=output.json)
    else:
        print_results(flat_values(get_recipe(name)), as_json=output.json)


LISTINGS = (layers, datasets, models, methods, loggers, recipes)
