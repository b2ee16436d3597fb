"""What the suite's processes, and those that they start, find in their environment."""

import os

# Before torch and numpy are imported. The tests are small, and two processes of them run at once.
os.environ["OMP_NUM_THREADS"] = "1"
# Of a compiled step's C++ only the kernels compute; what calls them need not be optimised.
os.environ["AOT_INDUCTOR_COMPILE_WRAPPER_OPT_LEVEL"] = "O0"
