"""What every test relies on: one thread, because results depend on their number, and figures without a screen."""

import os

# Before anything imports torch, numpy or matplotlib; the commands that tests start inherit it.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MPLBACKEND="agg")
