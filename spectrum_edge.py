"""The `spectrum` command's first step, outside of the package.

On PyPI another project has a package of the same name. Where its files were installed over ours, nothing in the package
can be relied on to say so.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

_OURS = b'__distribution__ = "spectrum-edge"'


def main() -> None:
    """Run the `spectrum` command, if the package `spectrum` is ours."""
    found = find_spec("spectrum")
    origin = Path(found.origin) if found and found.origin else None
    if origin is None or _OURS not in origin.read_bytes():
        sys.exit(
            f"{origin or 'spectrum'}: this is another project's package: the distributions spectrum and spectrum-edge "
            "cannot share an environment. Make a new one, and install spectrum-edge into it"
        )
    from spectrum.cli.main import main as run

    run()
