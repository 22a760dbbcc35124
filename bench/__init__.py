"""BENCHMARKS: every comparison with a named peer, by the name that `python -m bench NAME` runs it under."""

from convscope.tables import Entry

BENCHMARKS: dict[str, Entry] = {
    "maximize": Entry("bench.maximize:main", "activation maximization, a channel, and torch-lucent"),
    "reconstruct": Entry("bench.reconstruct:main", "deconvnet reconstructions of 64 channels, and Captum's calls"),
    "top-images": Entry("bench.top_images:main", "the survey of all layers, and a bare forward pass over the images"),
    "watch": Entry("bench.watch:main", "a log of a million events in the dashboard, and json.loads"),
    "watched": Entry("bench.watched:main", "a training filmed and shown in a browser, and the same one left alone"),
}
