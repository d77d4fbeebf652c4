"""Rewrites the third column of src/kernels/math_reference.txt: exp or ln of the second, correctly rounded.

Usage: python3 tools/math_reference.py    (needs mpmath)

To add a value, add a line with its function and bits, then run this.
"""

import math
import pathlib
import struct

from mpmath import exp, ldexp, log, mp, mpf, nint

mp.prec = 300
FILE = pathlib.Path(__file__).parent.parent / "src/kernels/math_reference.txt"


def from_bits(bits):
    return struct.unpack(">d", bytes.fromhex(bits))[0]


def rounded(exact):
    """The nearest double. Rounded as an integer count of units in the last place, so that subnormals round only once."""
    if exact == 0:
        return 0.0
    exponent = max(math.floor(log(abs(exact), 2)) - 52, -1074)
    return float(ldexp(nint(ldexp(exact, -exponent)), exponent))


lines = []
for line in FILE.read_text().splitlines():
    if not line.startswith("#"):
        name, x = line.split()[:2]
        y = rounded({"exp": exp, "ln": log}[name](mpf(from_bits(x))))
        line = f"{name} {x} {struct.pack('>d', y).hex()}"
    lines.append(line)
FILE.write_text("\n".join(lines) + "\n")
