"""qmgr alone: killed, and its rules; the tests stand in tests/crash."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "crash"))

from test_qmgr_full import *  # noqa: E402,F401,F403
from test_qmgr_kill import *  # noqa: E402,F401,F403
from test_qmgr_rules import *  # noqa: E402,F401,F403

pytestmark = pytest.mark.sanitized
