"""The embedded engine: transformers, torch and peft in this process.

The only package that imports them. OpenMP's workers must sleep, not spin, between two operations, or any
other busy process takes two thirds of the speed; torch reads that once, when it is imported.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
