"""BENCHMARKS: every comparison with a named peer, by the name that `python -m bench NAME` runs it under."""

from convscope.tables import Entry

BENCHMARKS: dict[str, Entry] = {
    "train": Entry("bench.train:main", "training throughput, and the usual loop, timm's and Keras's"),
    "overheads": Entry(
        "bench.overheads:main", "film, checkpoints, resuming, starting, the report, the explorer's clicks"
    ),
    "memory": Entry("bench.memory:main", "peak memory of training and of each method, and what is computed of it"),
    "accuracy": Entry("bench.accuracy:main", "how soon finished runs, or one trained now, reached which accuracy"),
    "maximize": Entry("bench.maximize:main", "activation maximization, a channel, and torch-lucent"),
    "reconstruct": Entry("bench.reconstruct:main", "deconvnet reconstructions of 64 channels, and Captum's calls"),
    "top-images": Entry("bench.top_images:main", "the survey of all layers, and a bare forward pass over the images"),
    "watch": Entry("bench.watch:main", "a log of a million events in the dashboard, and json.loads"),
    "watched": Entry("bench.watched:main", "a training filmed and shown in a browser, and the same one left alone"),
    "stream": Entry("bench.stream:main", "the memory of streamed training, at 100,000 to ten million images"),
    "gpu": Entry("bench.gpu:main", "everything that a GPU is for, checked and measured in one go"),
    "all": Entry("bench.everything:main", "all of them in one table, each in a process of its own"),
}
