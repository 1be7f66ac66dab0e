"""`alerts`."""

from datetime import UTC, datetime
from typing import Any

from pipeline_assets.alerting.rules import Severity
from pipeline_assets.resources import Resources

NOBODY_LOOKED = {
    "since": None,
    "severity": Severity.WARNING.value,
    "key": "alerts/never",
    "title": "nobody has looked yet",
    "what_happened": "The sensor `alerts` has never run on this state database.",
    "what_to_do": "Start the daemon (`make ui`), and see in the UI that the sensor is on.",
}


def alerts(resources: Resources) -> list[dict[str, Any]]:
    """What stood at the sensor's last look, the oldest first, with what to do about each.

    Where it never looked that is what is wrong: nobody knows whether anything is.
    """
    if resources.alerts.looked_at() is None:
        return [NOBODY_LOOKED]
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
