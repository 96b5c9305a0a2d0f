"""Programs that tests start in processes of their own."""

import os
import sys

# Such a program finds what this process finds: `support`, and the module of the test itself.
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
