"""Spectrum: a self-hosted layer-4 edge."""

__version__ = "0.1.0"
# Another project's package has the same name; the command recognizes this one by this line.
__distribution__ = "spectrum-edge"
