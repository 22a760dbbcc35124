"""Train a convolutional network and see what it learned.

Dataset ──train(model, dataset, recipe)──► Event, Event, … ──► run folder
run folder | any nn.Module ──────────────► Network (model + mean/std + input size + class names)
method(network, layer, channel, image, dataset) ──► Picture
Picture ──► PNG · notebook cell · report.html · explorer
"""

__version__ = "0.1.0"
