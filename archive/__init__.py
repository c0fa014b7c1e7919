"""The vocabulary and the memory of a search: kernels, candidates, evaluations, archives, lineage.

Import from the modules (`from archive.kernel import Kernel`); this one loads nothing.
"""
