"""What the UI's buttons do, over the same GraphQL."""

import json
import re
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline_assets_tests.lengths import HANG_S

LOCATION = "pipeline_assets"
REPOSITORY = "__repository__"
PARTITION_TAG = "dagster/partition"
BACKFILL_ENDED = ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")
PID = re.compile(r"\(pid: (\d+)\)")

_LAUNCH = """
mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename
  ... on LaunchRunSuccess { run { runId } }
  ... on PythonError { message }
} }
"""
_BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename
  ... on LaunchBackfillSuccess { backfillId }
  ... on PythonError { message }
} }
"""
_BACKFILL_STATUS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  __typename
  ... on PartitionBackfill { status }
  ... on PythonError { message }
} }
"""
_RUNS = """
query($filter: RunsFilter!) { runsOrError(filter: $filter) {
  __typename
  ... on Runs { results { runId status parentRunId tags { key value } } }
  ... on PythonError { message }
} }
"""
_EVENTS = """
query($run: ID!) { logsForRun(runId: $run) {
  __typename
  ... on EventConnection { events { __typename ... on MessageEvent { message } } }
  ... on PythonError { message }
} }
"""
_SENSOR = """
query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) {
  __typename
  ... on Sensor { id sensorState { ticks(limit: 1) { skipReason } } }
  ... on PythonError { message }
} }
"""
_STOP_SENSOR = """
mutation($id: String!) { stopSensor(id: $id) {
  __typename
  ... on StopSensorMutationResult { instigationState { status } }
  ... on PythonError { message }
} }
"""
_LOCATIONS = """
query { workspaceOrError {
  __typename
  ... on Workspace { locationEntries {
    name loadStatus
    locationOrLoadError { __typename ... on PythonError { message } }
  } }
  ... on PythonError { message }
} }
"""


class Refused(Exception):
    """Dagster did not do what it was asked for."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of a job."""

    id: str
    status: str
    parent: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Dagster:
    """The GraphQL of a webserver."""

    url: str

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data that a query or a mutation gives. Raises `Refused` with Dagster's reason."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 - ours, on loopback
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=HANG_S) as reply:  # noqa: S310 - likewise
            answer = json.load(reply)
        if answer.get("errors"):
            raise Refused(json.dumps(answer["errors"]))
        data: dict[str, Any] = answer["data"]
        return data

    def location_loaded(self) -> bool:
        """Whether our code location is loaded. Raises `Refused` where it cannot be."""
        workspace = self._asked(_LOCATIONS, "Workspace")
        for entry in workspace["locationEntries"]:
            found = entry["locationOrLoadError"]
            if found is not None and found["__typename"] == "PythonError":
                raise Refused(found["message"])
            if entry["name"] == LOCATION and entry["loadStatus"] == "LOADED":
                return found is not None
        return False

    def launch(
        self, job: str, hour: str, tags: Mapping[str, str] | None = None, config: Any = None
    ) -> str:
        """Launch a job for one hour; the id of the run."""
        wanted = {PARTITION_TAG: hour, **(tags or {})}
        params = {
            "selector": {
                "repositoryLocationName": LOCATION,
                "repositoryName": REPOSITORY,
                "jobName": job,
            },
            "runConfigData": config or {},
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in wanted.items()]
            },
        }
        launched = self._asked(_LAUNCH, "LaunchRunSuccess", params=params)
        return str(launched["run"]["runId"])

    def backfill(self, assets: Sequence[str], hours: Sequence[str]) -> str:
        """Launch a backfill of assets over hours; its id."""
        params = {
            "assetSelection": [{"path": [asset]} for asset in assets],
            "partitionNames": list(hours),
        }
        launched = self._asked(_BACKFILL, "LaunchBackfillSuccess", params=params)
        return str(launched["backfillId"])

    def backfill_ended(self, backfill: str) -> bool:
        """Whether a backfill has no run left to wait for."""
        found = self._asked(_BACKFILL_STATUS, "PartitionBackfill", id=backfill)
        return found["status"] in BACKFILL_ENDED

    def runs(self, **tags: str) -> list[Run]:
        """The runs that have these tags, newest first; `__` stands for `/` in a tag's name."""
        wanted = [{"key": key.replace("__", "/"), "value": value} for key, value in tags.items()]
        found = self._asked(_RUNS, "Runs", filter={"tags": wanted})
        return [
            Run(
                each["runId"],
                each["status"],
                each["parentRunId"],
                {tag["key"]: tag["value"] for tag in each["tags"]},
            )
            for each in found["results"]
        ]

    def messages(self, run: str) -> list[str]:
        """The messages of a run's events, in order."""
        found = self._asked(_EVENTS, "EventConnection", run=run)
        return [event["message"] for event in found["events"] if event.get("message")]

    def process_of(self, run: str) -> int | None:
        """The process that works on a run, once it has said so."""
        said = (PID.search(message) for message in self.messages(run))
        return next((int(found[1]) for found in said if found), None)

    def stop_sensor(self, name: str) -> None:
        """Switch a sensor off."""
        stopped = self._asked(_STOP_SENSOR, "StopSensorMutationResult", id=self._sensor(name)["id"])
        if stopped["instigationState"]["status"] != "STOPPED":
            raise Refused(f"{name}: {stopped}")

    def said_by(self, sensor: str) -> str:
        """Why the latest tick of a sensor asked for nothing; empty where it asked."""
        ticks = self._sensor(sensor)["sensorState"]["ticks"]
        return (ticks[0]["skipReason"] or "") if ticks else ""

    def _sensor(self, name: str) -> dict[str, Any]:
        selector = {
            "repositoryLocationName": LOCATION,
            "repositoryName": REPOSITORY,
            "sensorName": name,
        }
        return self._asked(_SENSOR, "Sensor", sensor=selector)

    def _asked(self, query: str, wanted: str, **variables: Any) -> dict[str, Any]:
        [answer] = self.ask(query, **variables).values()
        if answer["__typename"] != wanted:
            raise Refused(f"{answer['__typename']}: {answer.get('message')}")
        found: dict[str, Any] = answer
        return found
