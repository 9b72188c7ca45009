"""python -m lambdas.process_task.kinds: the kinds as JSON, for whoever deploys them."""

import json

from lambdas.common import kinds
from lambdas.process_task import kinds as package

if __name__ == "__main__":
    print(json.dumps(kinds.load(package).manifest()))
