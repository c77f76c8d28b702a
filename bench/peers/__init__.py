"""The programs that are measured, this one and its peers, each as a process that takes orders."""
