"""Evaluation on GPUs: the same protocol as on a CPU, with device memory, a device clock and device-side checks.

Nothing here imports torch or triton at module level; a machine without them loads none of it.
"""
