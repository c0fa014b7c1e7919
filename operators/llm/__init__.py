"""Operators that ask a language model. `base` holds their common course, `telling` puts candidates into words, `aiming` goals."""
