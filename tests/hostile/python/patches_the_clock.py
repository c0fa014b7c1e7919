# policy: forbidden_name
"""Reaches for the clock through the module system."""


def launch(x, y, workspace):
    __import__("time").perf_counter = lambda: 0.0
