"""The film of a training as pictures: a frame, an animation, what it shows of filters and patterns."""
