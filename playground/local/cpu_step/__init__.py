"""The fast stepper for CPUs: see `stepper`."""
