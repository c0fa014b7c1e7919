"""Whether a kernel is right and how fast: problems, targets, sandbox, referee, timing, roofline.

Import the modules themselves (`from fitness.problem import Problem`); this package loads nothing by itself.
"""
