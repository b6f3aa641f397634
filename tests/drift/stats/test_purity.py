"""The statistics know neither the web framework nor the database."""

import subprocess
import sys
from pathlib import Path


def test_importing_the_statistics_imports_no_django():
    code = "import sys, apps.drift.stats; sys.exit('django' in sys.modules)"
    root = Path(__file__).parents[3]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
