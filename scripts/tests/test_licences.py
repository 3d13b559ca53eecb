"""Licence expressions against a list of allowed ones."""

import unittest

from licences import satisfied

ALLOWED = {"MIT", "Apache-2.0", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"}


class Satisfied(unittest.TestCase):
    def test_expressions(self):
        for expression, expected in {
            "MIT": True,
            "GPL-3.0": False,
            "MIT OR GPL-3.0": True,
            "MIT AND GPL-3.0": False,
            "GPL-3.0 OR MIT AND GPL-2.0": False,
            "(MIT OR Apache-2.0) AND Unicode-3.0": True,
            "(MIT OR Apache-2.0) AND GPL-2.0": False,
            "Apache-2.0 WITH LLVM-exception": True,
            "MIT WITH Strange-exception": False,
            "GPL-2.0/MIT": True,
            "none": False,
        }.items():
            self.assertEqual(satisfied(expression, ALLOWED), expected, expression)


if __name__ == "__main__":
    unittest.main()
