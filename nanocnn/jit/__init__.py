"""What numba needs and networks do not know: vectors, compiling, its cache, threads."""
