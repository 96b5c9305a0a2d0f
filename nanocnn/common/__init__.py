"""Shared helpers: arrays, argument checks, errors, files, configs, tables, terminal output."""
