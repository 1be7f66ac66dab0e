"""A stage that no worker survives the import of."""

import os
import sys

from pipeline_assets_tests.engine import worker_stage

EXIT_CODE = 7

if "pipeline_assets.engine.worker" in sys.orig_argv:
    os._exit(EXIT_CODE)

STAGE = worker_stage.STAGE
