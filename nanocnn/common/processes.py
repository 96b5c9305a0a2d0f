"""Whether this process speaks for all: one of several that train a model (distributed/)."""

# This process is alone, or the first one, which prints, warns and writes files for all.
first = True
