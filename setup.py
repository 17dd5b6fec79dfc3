"""Build of the Cython modules. Everything else about the package is in pyproject.toml."""

import os
import sysconfig

from Cython.Build import cythonize
from setuptools import Extension, setup

# `make asan` sets this to build with AddressSanitizer; a normal build leaves it empty.
SANITIZE = os.environ.get("SPECTRUM_SANITIZE", "")
# The same for a build that counts what the engine holds, by the line of the source that took it (tests/engine/live.h).
DEBUG = bool(os.environ.get("SPECTRUM_DEBUG"))

# What Debian gives its own programs (dpkg-buildflags(1), hardening=+all), and control-flow protection where the
# processor has it. The linker marks a file as protected (IBT, SHSTK) only where the C library's crti.o is, too.
PROTECTION = {"x86_64": ["-fcf-protection=full"], "aarch64": ["-mbranch-protection=standard"]}
HARDENED = ["-fstack-protector-strong", "-fstack-clash-protection", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
# Of the machine that it is for, which need not be this one: `linux-aarch64` where a cross build says so.
HARDENED += PROTECTION.get(sysconfig.get_platform().rpartition("-")[2], [])
LINK_HARDENED = ["-Wl,-z,relro", "-Wl,-z,now", "-Wl,-z,noexecstack"]

flags = [f"-fsanitize={SANITIZE}", "-g", "-O1", "-fno-omit-frame-pointer"] if SANITIZE else ["-O2", "-g0", *HARDENED]
if DEBUG:
    flags += ["-include", "tests/engine/live.h", "-Wno-attributes"]
links = [f"-fsanitize={SANITIZE}"] if SANITIZE else LINK_HARDENED


def without_search_paths(command: str) -> str:
    """Return a link command without the folders that a self-built Python writes into what it links (RUNPATH).

    At run time they would be searched for libraries before the system's, on machines where anybody may make them.
    """
    return " ".join(word for word in command.split() if not word.startswith(("-Wl,-rpath", "-Wl,-R")))


os.environ.setdefault("LDSHARED", without_search_paths(sysconfig.get_config_var("LDSHARED")))

setup(
    options={"build_ext": {"parallel": len(os.sched_getaffinity(0))}},
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
                ("spectrum.core.analytics.arrow_columns", []),
                ("spectrum.core.analytics.record_columns", []),
                ("spectrum.core.balancing.rendezvous", []),
                ("spectrum.engine.census", []),
                ("spectrum.engine.datagrams", []),
                ("spectrum.engine.dialer", []),
                ("spectrum.engine.flow_keeper", []),
                ("spectrum.engine.fragmentable", []),
                ("spectrum.engine.lookout", []),
                ("spectrum.engine.loop", []),
                ("spectrum.engine.offload", []),
                ("spectrum.engine.plan", []),
                ("spectrum.engine.progress", []),
                ("spectrum.engine.record_form", []),
                ("spectrum.engine.relay", []),
                ("spectrum.engine.retry_budget", ["m"]),
                ("spectrum.engine.sessions", []),
                ("spectrum.engine.shared", []),
                ("spectrum.engine.spares", []),
                ("spectrum.engine.strangers", []),
                ("spectrum.engine.target", []),
                ("spectrum.engine.tls", ["ssl", "crypto"]),
                ("spectrum.engine.tls_end", ["ssl", "crypto"]),
            )
        ],
        language_level=3,
        emit_linenums=DEBUG,
    ),
)
