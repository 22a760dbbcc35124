"""METHODS: every way of looking at a network, by the name that the command line gives it."""

from convscope.tables import Entry

METHODS: dict[str, Entry] = {
    "filters": Entry("convscope.methods.filters:filters", "the weights of a convolution, as pictures"),
    "maps": Entry("convscope.methods.feature_maps:feature_maps", "every channel of a layer, for an image"),
    "attribute": Entry("convscope.methods.attribute:attribute", "which pixels of an image speak for a class"),
    "maximize": Entry("convscope.methods.maximize:maximize", "what a channel answers to most, by gradient ascent"),
    "reconstruct": Entry("convscope.methods.reconstruct:reconstruct", "activations projected back to pixels"),
}
