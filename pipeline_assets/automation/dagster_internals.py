"""What we need of Dagster and it has no public name for: all such imports are here.

Seen in 1.13. Any minor release may move one of them; the tests of `automation` then fail by import.
The types are those of jobs and schedules before the definitions are loaded; the storages and the
launcher are what ours extend.
"""

from dagster import ScheduleDefinition
from dagster._core.definitions.partitions.partitioned_schedule import (
    UnresolvedPartitionedAssetScheduleDefinition,
)
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition as AssetJob,
)
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, WorkerStatus
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.root import LocalArtifactStorage
from dagster._core.storage.runs.schema import RunsTable, RunStorageSqlMetadata
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from dagster._core.storage.schedules.schema import ScheduleStorageSqlMetadata
from dagster._core.storage.tags import GRPC_INFO_TAG, MAX_RETRIES_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult

AssetSchedule = UnresolvedPartitionedAssetScheduleDefinition | ScheduleDefinition

__all__ = [
    "GRPC_INFO_TAG",
    "MAX_RETRIES_TAG",
    "AssetJob",
    "AssetSchedule",
    "CanCancelExecutionRequest",
    "CanCancelExecutionResult",
    "CheckRunHealthResult",
    "DagsterGrpcClient",
    "DagsterUserCodeUnreachableError",
    "DefaultRunLauncher",
    "InstigatorType",
    "LocalArtifactStorage",
    "LocalComputeLogManager",
    "RunStorageSqlMetadata",
    "RunsTable",
    "ScheduleStorageSqlMetadata",
    "SqlEventLogStorageMetadata",
    "SqlRunStorage",
    "WorkerStatus",
]
