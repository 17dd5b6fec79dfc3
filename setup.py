"""Build of the Cython modules. Everything else about the package is in pyproject.toml."""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

# `make asan` sets this to build with AddressSanitizer; a normal build leaves it empty.
SANITIZE = os.environ.get("SPECTRUM_SANITIZE", "")

flags = [f"-fsanitize={SANITIZE}", "-g", "-O1", "-fno-omit-frame-pointer"] if SANITIZE else ["-O2", "-g0"]
links = [f"-fsanitize={SANITIZE}"] if SANITIZE else []

setup(
    ext_modules=cythonize(
        [
            Extension(
                name,
                [name.replace(".", "/") + ".pyx"],
                extra_compile_args=flags,
                extra_link_args=links,
                libraries=libraries,
            )
            for name, libraries in (
                ("spectrum.core.access.prefix_table", []),
                ("spectrum.core.balancing.rendezvous", []),
                ("spectrum.engine.census", []),
                ("spectrum.engine.datagrams", []),
                ("spectrum.engine.dialer", []),
                ("spectrum.engine.flow_keeper", []),
                ("spectrum.engine.loop", []),
                ("spectrum.engine.offload", []),
                ("spectrum.engine.relay", []),
                ("spectrum.engine.sessions", []),
                ("spectrum.engine.shared", []),
                ("spectrum.engine.target", []),
                ("spectrum.engine.tls", ["ssl", "crypto"]),
                ("spectrum.engine.tls_end", ["ssl", "crypto"]),
            )
        ],
        language_level=3,
    )
)
