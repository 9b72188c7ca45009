"""What AWS makes of the app template before it deploys it: SAM's own translation."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from bootstrap import embedded, environments

TRANSLATE = """
import json, sys
from samtranslator.translator.transform import transform
class Nothing:
    def load(self): return {}
print(json.dumps(transform(json.load(sys.stdin), {"Stage": "dev"}, Nothing())["Resources"]))
"""
"""For the environment of the embedded AWS, which holds SAM's translator."""


def translated(document: Any) -> dict[str, Any]:
    """The resources of a template, with none of SAM's own types left."""
    python = environments.python("embedded", embedded.LOCK, "the embedded AWS")
    command, given = [str(python), "-c", TRANSLATE], json.dumps(document)
    variables = {"AWS_DEFAULT_REGION": "eu-west-1"}
    done = subprocess.run(command, input=given, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    resources: dict[str, Any] = json.loads(done.stdout)
    return resources
