"""What makes an update of a gradient. ``optimizers`` chooses, one file each computes."""
