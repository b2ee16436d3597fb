"""Gradient equivalents (GE): the unit in which the cost of measuring is counted, never timed."""

# One GE is one gradient of one run over the measurement set: a forward and two backward-sized
# passes. A product on a retained graph runs backward through both.
GE_FORWARD, GE_GRADIENT, GE_PRODUCT = 1 / 3, 1.0, 2.0
