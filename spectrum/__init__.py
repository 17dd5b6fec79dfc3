"""Spectrum: a self-hosted layer-4 edge."""

__version__ = "0.1.0"
