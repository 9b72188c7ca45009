"""python -m lambdas.process_task.kinds: the kinds as JSON, for whoever deploys them."""

import json
import sys
from contextlib import redirect_stdout

from lambdas.common import kinds
from lambdas.process_task import kinds as package

if __name__ == "__main__":
    with redirect_stdout(sys.stderr):  # whatever a module prints is no part of the answer
        loaded = kinds.load(package)
    print(json.dumps(loaded.manifest()))
