"""Tools for numba kernels, independent of networks: SIMD, compilation, cache, threads.

README.md explains them.
"""
