"""The mathematics of the monitors, as far as it is not linear algebra: pure functions."""
