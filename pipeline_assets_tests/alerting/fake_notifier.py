"""A notifier that reaches nobody."""

from dataclasses import dataclass, field

from pipeline_assets.alerting.notifier import NotDelivered
from pipeline_assets.alerting.rules import Alert


@dataclass(slots=True)
class FakeNotifier:
    """A fake for tests: keeps alerts in memory, and refuses them while it is `broken`."""

    name: str = "fake"
    broken: bool = False
    sent: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        """Keep it."""
        if self.broken:
            raise NotDelivered(self.name, "it is broken on request")
        self.sent.append(alert)
