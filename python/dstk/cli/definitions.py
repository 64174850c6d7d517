"""`dstk crds`."""

from __future__ import annotations

import argparse
import json

import yaml

from dstk import api


def crds(arguments: argparse.Namespace) -> int:
    """Print the CustomResourceDefinitions."""
    definitions = api.crds()
    if arguments.json:
        print(json.dumps(definitions, indent=2))
    else:
        print(yaml.safe_dump_all(definitions, sort_keys=False, allow_unicode=True, width=120), end="")
    return 0
