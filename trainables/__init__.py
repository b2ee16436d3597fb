"""Packs of SGD runs under curvature monitors: data, models, training, measuring. No files, no Ray.

Dimensions: R runs in a pack, N training examples, S batch size, P parameters, K eigenpairs,
M basis vectors, C classes.
"""
