"""Spectrum: a self-hosted layer-4 edge."""

__version__ = "0.1.0"
# Another project's package has the same name; by this line the command knows ours.
__distribution__ = "spectrum-edge"
