# policy: library_call
"""Calls the library through a method of its argument."""


def launch(x, y, workspace):
    y.copy_(x.softmax(-1))
