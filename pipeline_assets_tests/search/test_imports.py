"""What importing the package costs everybody who does."""

import subprocess
import sys


def test_importing_search_loads_neither_torch_nor_faiss() -> None:
    """Definitions and the command line import this package and must start fast."""
    check = (
        "import sys, pipeline_assets.search; "
        "sys.exit(str({'torch', 'faiss'} & sys.modules.keys() or ''))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == ""
