"""How the kernels are compiled, and what the cache of compiled ones hangs on."""

from hashlib import sha256
from pathlib import Path


def _source_digest() -> int:
    files = sorted(Path(__file__).parent.glob("*.py"))
    return int(sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:15], 16)


INNER = {
    "_nrt": False,
    "nogil": True,
    "error_model": "numpy",
    "boundscheck": False,
    "no_cpython_wrapper": True,
    "no_cfunc_wrapper": True,
}
"""For functions that only compiled ones call. They are not cached by themselves: a cached one would keep the code of
those that it calls, in other files, when these change."""

PART = {**INNER, "inline": "always"}
"""For functions called at one place, often: put in there, since a call hands over each field of each array, and
since what is compiled by itself is optimised once more with its caller. Of large functions that few trades go through
it would take longer."""

ENTRY = {"nogil": True, "error_model": "numpy", "boundscheck": False, "cache": True}
"""For functions called from Python: compiled once and kept on disk; a division by 0 gives inf or NaN; no lock of Python
is held, so that threads run side by side."""

ALONE = {**ENTRY, "_nrt": False, "no_cfunc_wrapper": True}
"""For functions called from Python that allocate nothing: they do not count who uses an array, which makes threads that
share arrays wait for one another."""

SOURCES = _source_digest()
"""A number that changes with any source file of the kernels.

Numba's cache looks at the file of a compiled function only. A function that calls those of other files takes this
number from an enclosing function, which makes it part of the cache's key.
"""
