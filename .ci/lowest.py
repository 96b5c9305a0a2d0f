"""Print the lowest allowed version of every dependency, as constraints for pip.

python .ci/lowest.py > lowest.txt && python -m pip install -c lowest.txt -e ".[test]"
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in (*project["dependencies"], *project["optional-dependencies"]["test"]):
    found = re.match(r"([\w-]+)>=([\d.]+)", requirement)
    assert found, f"pyproject.toml: {requirement!r} has no lower bound"
    print("==".join(found.groups()))
print("pyparsing<3.3")  # newer ones warn of names that matplotlib used before 3.10.8
