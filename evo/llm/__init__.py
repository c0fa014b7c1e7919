"""Models in a run: their section of the config, the studio of a run, asking and telling people, costs, lessons."""
