"""Statements of IAM policies against AWS's own list of actions and resources; runs where parliament is installed.

Standard input: {name: policy document}. Standard output: a line for each finding; nothing when there is none.
"""

import json
import sys

import parliament


def main() -> int:
    found = False
    for name, document in json.load(sys.stdin).items():
        for finding in parliament.analyze_policy_string(json.dumps(document)).findings:
            found = True
            print(f"{name}: {finding.issue} {finding.detail or ''}")
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
