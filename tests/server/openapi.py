"""The API's description: is what the server answers what docs/api/openapi.json says?"""

import json
import os
import re

import jsonschema

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/api/openapi.json")
with open(PATH, encoding="utf-8") as f:
    DOC = json.load(f)
SEEN = set()


def operation(method, path):
    for pattern, operations in DOC["paths"].items():
        if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", pattern), path) and method.lower() in operations:
            return pattern, operations[method.lower()]
    return None, None


def check(method, path, status, value):
    """Is this answer one that the description knows?"""
    pattern, op = operation(method, path)
    if not op:
        assert status in (404, 405), "%s %s is not described" % (method, path)
        return
    SEEN.add((method, pattern))
    described = op["responses"].get(str(status))
    assert described, "%s %s: %d is not described" % (method, path, status)
    content = described.get("content", {}).get("application/json")
    if content:
        resolver = jsonschema.RefResolver("", DOC)
        jsonschema.Draft202012Validator(content["schema"], resolver=resolver).validate(value)
    else:
        assert value is None, "%s %s: an answer that is not described" % (method, path)
