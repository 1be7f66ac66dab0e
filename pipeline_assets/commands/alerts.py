"""`alerts`."""

from datetime import UTC, datetime
from typing import Any

from pipeline_assets.resources import Resources


def alerts(resources: Resources) -> list[dict[str, Any]]:
    """What stood at the sensor's last look, the oldest first, with what to do about each."""
    return [
        {
            "since": datetime.fromtimestamp(alert.since, UTC),
            "severity": alert.severity.value,
            "key": alert.key,
            "title": alert.title,
            "what_happened": alert.happened,
            "what_to_do": alert.todo,
        }
        for alert in resources.alerts.standing()
    ]
