"""The demo's end: compare what was sent, what is stored and what has arrived upstream."""

from msgspec import Struct

from gateway.demo import devices
from gateway.demo.fleet import Sent
from gateway.demo.tally import Ranges, Report


class Count(Struct):
    """stored: offsets 1 to this must be upstream; sent: what the devices did; report: what has arrived."""

    stored: int
    sent: Sent
    report: Report

    @property
    def missing(self) -> int:
        """Events of the log that aren't upstream."""
        return self.stored - sum(max(0, min(hi, self.stored) - lo + 1) for lo, hi in self.report.offsets)

    @property
    def lost(self) -> int:
        """Messages that were acknowledged to a device and are in no event upstream."""
        arrived = {source: len(Ranges(self.report.numbers.get(source, []))) for source in devices.numbered}
        return sum(self.sent.acknowledged.get(source, 0) - arrived[source] for source in devices.numbered)

    @property
    def right(self) -> bool:
        """Everything that was acknowledged is upstream, once and in order."""
        wrong = self.missing or self.lost or self.report.duplicates or self.report.disorder or self.report.unreadable
        return self.stored > 0 and self.sent.sent == self.sent.acknowledged and not wrong

    def lines(self) -> list[str]:
        """For people."""
        report, acknowledged = self.report, sum(self.sent.acknowledged.values())
        again = f"   ({report.repeats:,} came again with the id they had, as QoS 1 may; a receiver drops those)"
        return [
            f"sent                {acknowledged + self.sent.frames:9,}   {acknowledged:,} MQTT messages, all acknowledged;"
            f" {self.sent.frames:,} frames on serial lines",
            f"stored              {self.stored:9,}   events: readings, alarms, devices coming and going",
            f"delivered upstream  {self.stored - self.missing:9,}",
            f"lost                {max(self.missing, self.lost):9,}",
            f"duplicated          {len(report.duplicates):9,}{again if report.repeats else ''}",
            f"out of order        {report.disorder:9,}",
        ]
