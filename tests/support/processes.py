"""Programs that tests start in processes of their own."""

import os
import sys

from support.paths import TESTS

# Such a program finds what this process finds, and the modules of all tests: the folders of those
# that pytest has not collected yet are not on sys.path.
_FOLDERS = sorted({str(path.parent) for path in TESTS.rglob("test_*.py")})
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, *_FOLDERS])}
