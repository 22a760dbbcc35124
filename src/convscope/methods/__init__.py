"""METHODS: every way of looking at a network, by the name that the command line gives it."""

from convscope.tables import Entry, Table

METHODS: Table[Entry] = Table(
    "convscope.methods",
    {
        "filters": Entry("convscope.methods.filters:filters", "the weights of a convolution, as pictures"),
        "maps": Entry("convscope.methods.feature_maps:feature_maps", "every channel of a layer, for an image"),
        "attribute": Entry("convscope.methods.attribute:attribute", "which pixels of an image speak for a class"),
        "maximize": Entry(
            "convscope.methods.maximize:maximize", "what a channel answers to most, by gradient ascent"
        ),
        "invert": Entry("convscope.methods.invert:invert", "the image that a layer's features still hold"),
        "dream": Entry("convscope.methods.dream:dream", "an image with more of what a layer sees in it"),
        "reconstruct": Entry("convscope.methods.reconstruct:reconstruct", "activations projected back to pixels"),
        "top-images": Entry(
            "convscope.methods.top_images:top_images",
            "what in a dataset excites each channel most, cut to what it sees",
        ),
    },
)
