"""The seed of models that are made without one."""

default = 0  # set by `utils.set_random_seed`
