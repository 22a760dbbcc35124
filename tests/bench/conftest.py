"""Keras computes with torch in these tests, as in the bench."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")
