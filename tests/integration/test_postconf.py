"""dakconf as postconf: replays what Postfix 3.7's postconf said about the same configurations."""
import importlib.util
import json
import pathlib

import pytest

from dakiya import BUILD

HERE = pathlib.Path(__file__).parent / "postconf"
spec = importlib.util.spec_from_file_location("postconf_record", HERE / "record.py")
record = importlib.util.module_from_spec(spec)
spec.loader.exec_module(record)

EXPECTED = json.loads((HERE / "expected.json").read_text())

def name_of(case):
    return f"{case['config']} {' '.join(case['arguments'])}"[:80]


def test_every_case_was_recorded():
    assert [(case["config"], case["arguments"]) for case in EXPECTED] == list(record.cases())


@pytest.mark.parametrize("case", EXPECTED, ids=name_of)
def test_output_is_that_of_postconf(case):
    ours = record.run_case([BUILD / "bin/postconf"], case["config"], case["arguments"])
    for key in ("stdout", "stderr", "status", "files"):
        assert ours[key] == case[key], key
