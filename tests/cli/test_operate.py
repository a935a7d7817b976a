"""What an operator does, beside a running gateway and without one: the same commands, the same effect."""

import asyncio
import json
import os
import re
import stat
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import pytest

import drivers.json
from gateway.app import Gateway, open_gateway
from gateway.cli import main
from gateway.config import load
from gateway.driver import Context, Message
from gateway.errors import StoreLocked
from gateway.event import Availability, Reading
from gateway.hub.inlet import Publish, Read
from gateway.store.log import Log
from tests.parts import until

configuration = """
[gateway]
name = "plant-7"
data = "data"
trust_clock = true

[[listener]]
port = 0

[[binding]]
driver = "json"
topics = ["plant/{area}/{device}"]
source = "{area}/{device}"
allow = ["cellar/*"]

[[subscription]]
name = "stick"
sink = "file"
folder = "out"
types = ["reading"]
"""


class Site:
    """A folder with a configuration, and a gateway that can run there."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        (folder / "out").mkdir()
        self.configure(configuration)

    def configure(self, text: str) -> None:
        (self.folder / "redcar.toml").write_text(text)

    def run(self, story: Callable[[Gateway], Awaitable[None]]) -> None:
        """While the story is told, the gateway runs."""

        async def told() -> None:
            async with asyncio.timeout(60), open_gateway(load(self.folder / "redcar.toml")) as gateway:
                await story(gateway)

        asyncio.run(told())

    def redcar(self, *words: str, code: int = 0) -> list[str]:
        """What a command says."""
        self._capsys.readouterr()
        found = main([*words, "--config", str(self.folder / "redcar.toml")])
        said = self._capsys.readouterr()
        assert found == code, said.err or said.out
        return (said.err if code > 1 else said.out).splitlines()

    async def beside(self, *words: str, code: int = 0) -> list[str]:
        """The same while the gateway runs."""
        return await asyncio.to_thread(self.redcar, *words, code=code)

    def delivered(self, lane: str) -> list[tuple[str, object]]:
        files = sorted(self.folder.glob(f"out/*-{lane}-*.jsonl"))
        events = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        return [(event["subject"], event["data"]) for event in events]


@pytest.fixture
def site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    return Site(tmp_path, capsys)


async def publish(gateway: Gateway, *messages: tuple[str, bytes]) -> None:
    stored = gateway.ingest.publish([Read([Publish(topic, payload, 1) for topic, payload in messages])])
    assert stored is not None
    await stored


def of_stick(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("stick ") or '"consumer": "stick"' in line]


def objects(lines: list[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines]


def owed(lines: list[str]) -> dict[tuple[str, str], int]:
    return {(str(one["consumer"]), str(one["lane"])): int(str(one["owed"])) for one in objects(lines)}


def test_only_the_owner_may_knock_and_nothing_stays(site: Site) -> None:
    async def story(gateway: Gateway) -> None:
        assert stat.S_IMODE(os.stat(site.folder / "data/control").st_mode) == 0o600

    (site.folder / "data").mkdir()
    (site.folder / "data/control").touch()  # left by a crash
    site.run(story)
    assert not (site.folder / "data/control").exists()


def test_consumers_beside_a_gateway_and_without(site: Site) -> None:
    async def story(gateway: Gateway) -> None:
        await publish(gateway, *(("plant/cellar/air", b'{"temperature": %d}' % n) for n in range(3)))
        await until(lambda: len(site.delivered("*")) == 3)
        await until(lambda: gateway.forwarders[0].consumer.lag == 0)
        (line,) = objects(of_stick(await site.beside("consumers", "--json")))
        assert (line["consumer"], line["lane"], line["owed"], line["connected"]) == ("stick", "live", 0, True)
        (text,) = of_stick(await site.beside("consumers"))
        assert "stick" in text
        assert "owed nothing" in text
        (site.folder / "out").rename(site.folder / "pulled")
        await publish(gateway, ("plant/cellar/air", b'{"temperature": 4}'))
        await until(lambda: gateway.forwarders[0].status.next_try)
        (text,) = of_stick(await site.beside("consumers"))
        assert "owed 1, oldest from " in text
        assert f"not connected: {site.folder}/out doesn't exist: mount it, or make it (tried" in text

    site.run(story)
    assert owed(of_stick(site.redcar("consumers", "--json"))) == {
        ("stick", "live"): 2
    }  # and gateway.stopped, which it doesn't want


def test_a_consumer_whose_subscription_is_gone_is_forgotten(site: Site) -> None:
    async def story(gateway: Gateway) -> None:
        await publish(gateway, ("plant/cellar/air", b'{"temperature": 4}'))
        (line,) = await site.beside("consumers", "--forget", "stick", code=3)
        assert line == "redcar: stick is in use: take its subscription out of the configuration first"

    site.run(story)
    site.configure(configuration.partition("[[subscription]]")[0])

    async def later(gateway: Gateway) -> None:
        (line,) = of_stick(await site.beside("consumers"))
        assert line.endswith("; nobody reads it")
        (line,) = await site.beside("consumers", "--forget", "stick")
        assert line.startswith("stick is forgotten; it was owed ")
        assert of_stick(await site.beside("consumers")) == []

    site.run(later)
    assert of_stick(site.redcar("consumers")) == []
    (line,) = site.redcar("consumers", "--forget", "stick", code=3)
    assert line == "redcar: there is no consumer stick: see redcar consumers"


def test_replay_beside_a_gateway_and_without(site: Site) -> None:
    replay = ("replay", "--consumer", "stick", "--from", "1h", "--to", "0s")

    async def story(gateway: Gateway) -> None:
        await publish(
            gateway, *((f"plant/cellar/air-{n % 2}", b'{"temperature": %d}' % n) for n in range(4)), ("x/y", b"")
        )
        await until(lambda: len(site.delivered("*")) == 4)
        text = await site.beside(*replay, "--source", "cellar/air-1", "--dry-run")
        assert text[0].startswith("2 events of 1..")
        assert text[1] == "34 bytes, in about 0 s; nothing was changed"
        (made,) = objects(await site.beside(*replay, "--source", "cellar/air-1", "--json"))
        await until(lambda: len(site.delivered(str(made["lane"]))) == 2)
        assert site.delivered(str(made["lane"])) == [("cellar/air-1", {"temperature": n}) for n in (1, 3)]

    site.run(story)
    (text,) = site.redcar(*replay, "--type", "reading", "--speed", "10x")
    assert text.startswith("stick is owed 1..")
    assert owed(site.redcar("consumers", "--json"))["stick", text.rpartition(" ")[2]] > 4

    async def later(gateway: Gateway) -> None:
        await until(lambda: len(site.delivered(text.rpartition(" ")[2])) == 4)

    site.run(later)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--consumer", "cloud", "--from", "1h"), "redcar: there is no subscription cloud: there is stick"),
        (
            ("--consumer", "stick", "--from", "1h", "--speed", "fast"),
            "redcar: 'fast' isn't a speed: write 1x, 10x or max",
        ),
        (("--consumer", "stick", "--from", "noon"), "redcar: 'noon' isn't a time: "),
    ],
)
def test_a_replay_that_can_not_be(site: Site, words: tuple[str, ...], said: str) -> None:
    async def story(gateway: Gateway) -> None:
        await publish(gateway, ("plant/cellar/air", b"{}"))

    site.run(story)
    (line,) = site.redcar("replay", *words, "--to", "0s", code=3 if "cloud" in words else 2)
    assert line.startswith(said)
    assert site.redcar("replay", "--consumer", "stick", "--from", "9d", "--to", "8d", code=1) == [
        "nothing was recorded then"
    ]


def test_mend_a_decoder_redrive_and_the_reading_appears_at_its_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(gateway: Gateway) -> None:
        await publish(gateway, ("plant/cellar/air", b'{"temperature": 4,5}'), ("plant/cellar/air", b'{"temp'))

    site.run(story)
    letters = objects(site.redcar("dlq", "list", "--json", "--where", "reason=not_json"))
    assert [one["subject"] for one in letters] == ["cellar/air", "cellar/air"]
    first = str(int(str(letters[0]["sequence"])))
    assert '  payload         {"temperature": 4,5}' in site.redcar("dlq", "show", first)
    said = site.redcar("dlq", "redrive", first, code=1)
    assert said[0].startswith(f"{first}: still can't be read: not_json")

    broken = drivers.json.decode

    def mended(item: Message, context: Context) -> Iterable[Reading | Availability]:
        item.payload = re.sub(rb"(\d),(\d)", rb"\1.\2", item.payload)
        return broken(item, context)

    monkeypatch.setattr(drivers.json, "decode", mended)
    said = site.redcar("dlq", "redrive", "--all", code=1)
    assert said[0] == f"{first}: read"
    assert "still can't be read" in said[1]
    (reading,) = objects(site.redcar("events", "--type", "reading", "--json"))
    assert reading["data"] == {"temperature": 4.5}
    assert (reading["subject"], reading["time"]) == ("cellar/air", letters[0]["time"])
    assert str(reading["causationid"]).endswith(f"-{first}")
    assert len(site.redcar("dlq", "list")) == 1

    async def later(gateway: Gateway) -> None:
        await until(lambda: len(site.delivered("*")) == 1)
        (text,) = await site.beside("dlq", "drop", "--where", "source=cellar/air")
        assert text.endswith(": dropped")
        assert await site.beside("dlq", "list") == ["no dead letters"]

    site.run(later)
    assert len(site.redcar("events", "--type", "rejected")) == 2  # the log keeps them


def test_redrive_a_delivery(site: Site) -> None:
    async def story(gateway: Gateway) -> None:
        from gateway import deadletters

        await publish(gateway, ("plant/cellar/air", b'{"temperature": 4}'))
        await until(lambda: len(site.delivered("*")) == 1)
        (original,) = [one for one in await gateway.log.read(1) if one.type == "reading"]
        letter = deadletters.undelivered(original, "stick", "refused", "too long", 1, gateway.clock.now())
        await gateway.log.store([letter])
        position = gateway.forwarders[0].consumer.owed("live")
        assert position is not None
        before = position.lo
        (line,) = await site.beside("dlq", "list")
        assert line.endswith(f"cellar/air deliver (stick <- {original.offset}): refused: too long")
        (line,) = await site.beside("dlq", "redrive", "--where", "consumer=stick")
        assert line == f"{letter.offset}: owed to stick again"
        await until(lambda: site.delivered("redrive-*"))
        assert await site.beside("dlq", "list") == ["no dead letters"]
        assert position.lo >= before  # the main position never moves back

    site.run(story)
    assert site.delivered("redrive-*") == [("cellar/air", {"temperature": 4})]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("redrive",), "redcar: say which: OFFSET..., --where FIELD=VALUE, or --all"),
        (("redrive", "1"), "redcar: 1 isn't on the list of dead letters: see redcar dlq list"),
        (("show", "1"), "redcar: 1 isn't a dead letter: see redcar dlq list"),
        (("list", "--where", "cloud"), "redcar: --where cloud: write FIELD=VALUE, e.g. reason=not_json"),
    ],
)
def test_what_dlq_does_not_understand(site: Site, words: tuple[str, ...], said: str) -> None:
    async def story(gateway: Gateway) -> None:
        await publish(gateway, ("plant/cellar/air", b"{}"))

    site.run(story)
    assert site.redcar("dlq", *words, code=3 if "1" in words else 2) == [said]


def test_what_devices_send_cannot_move_the_cursor(site: Site) -> None:
    """Names and payloads go to a terminal as what they are: text of strangers."""
    reverse, clear = "\u202e", "\x1b[2J\x9b"

    async def story(gateway: Gateway) -> None:
        air = f"plant/cellar/air{reverse}"
        await publish(
            gateway, (air, b'{"temperature": 4}'), (air, clear.encode()), (f"other/{reverse}", clear.encode())
        )

    site.run(story)
    looks = ("tail", "events", "devices", "dlq list", "views show last", "views show devices", "trace 4")
    for look in looks:
        said = "\n".join(site.redcar(*look.split()))
        assert "cellar/air\N{REPLACEMENT CHARACTER}" in said, look
        assert not set(said) & {reverse, "\x1b", "\x9b"}, look
    number = site.redcar("dlq", "list")[0].split()[0]
    shown = "\n".join(site.redcar("dlq", "show", number))
    assert "\N{REPLACEMENT CHARACTER}[2J" in shown
    assert not set(shown) & {reverse, "\x1b", "\x9b"}


def test_trace_knows_what_the_running_gateway_has_in_memory(site: Site) -> None:
    (site.folder / "warm.toml").write_text('[rule.warm]\non = "cellar/*"\nwhen = "temperature > 30 °C"\n')
    site.configure(configuration.replace("trust_clock", 'rules = ["warm.toml"]\ntrust_clock'))

    async def story(gateway: Gateway) -> None:
        await publish(gateway, ("plant/cellar/air-1", b'{"temperature": 4}'))
        async with asyncio.timeout(5):  # a quiet rule's position is saved every ten seconds
            while "  rules       seen" not in await site.beside("trace", "4"):
                await asyncio.sleep(0.05)

    site.run(story)
    assert site.redcar("trace", "0", code=3) == ["redcar: the log has no event 0: the first is 1"]


def test_adopt_and_ignore_beside_a_gateway_and_without(site: Site) -> None:
    async def states() -> dict[object, object]:
        return {one["source"]: one["state"] for one in objects(await site.beside("devices", "--json"))}

    async def story(gateway: Gateway) -> None:
        await publish(gateway, ("plant/attic/air", b'{"temperature": 1}'), ("plant/cellar/air", b'{"temperature": 2}'))
        assert await states() == {"attic/air": "offered", "cellar/air": "adopted"}
        assert await site.beside("adopt", "attic/air") == ["attic/air is adopted"]
        await publish(gateway, ("plant/attic/air", b'{"temperature": 3}'))
        assert await site.beside("ignore", "cellar/air") == ["cellar/air is ignored"]
        await publish(gateway, ("plant/cellar/air", b'{"temperature": 4}'), ("plant/attic/air", b'{"temperature": 5}'))
        assert await states() == {"attic/air": "adopted", "cellar/air": "ignored"}
        assert (await site.beside("adopt", "roof/air", code=3))[0].startswith("redcar: nobody called roof/air was ever")

    site.run(story)
    stored = objects(site.redcar("events", "--type", "reading", "--json"))
    assert [one["data"] for one in stored] == [{"temperature": n} for n in (2, 3, 5)]
    assert len(site.redcar("events", "--type", "message")) == 1  # of the one that waited; the ignored one's is dropped
    assert [line.split()[2] for line in site.redcar("devices")] == ["adopted", "ignored"]
    site.redcar("adopt", "cellar/air")
    site.redcar("ignore", "attic/air")
    assert [line.split()[2] for line in site.redcar("devices")] == ["ignored", "adopted"]
    assert len(site.redcar("devices", "--state", "ignored")) == 1

    async def later(gateway: Gateway) -> None:
        await publish(gateway, ("plant/cellar/air", b'{"temperature": 6}'), ("plant/attic/air", b'{"temperature": 7}'))
        assert [one.data for one in await gateway.log.read(1) if one.type == "reading"][3:] == [{"temperature": 6}]

    site.run(later)


def test_as_of_shows_what_was_known_then(site: Site) -> None:
    moments = []

    async def story(gateway: Gateway) -> None:
        for n in range(3):
            await publish(gateway, ("plant/cellar/air", b'{"temperature": %d}' % n))
            moments.append((await gateway.log.read(gateway.log.head))[0].recorded)
            await asyncio.sleep(0.01)

    site.run(story)
    from datetime import datetime

    then = datetime.fromtimestamp(moments[1] / 1_000_000).isoformat()
    known = objects(site.redcar("events", "--type", "reading", "--as-of", then, "--json"))
    assert [one["data"] for one in known] == [{"temperature": 0}, {"temperature": 1}]


def test_another_writer_is_refused_while_the_socket_is_gone(site: Site) -> None:
    async def story(gateway: Gateway) -> None:
        await publish(gateway, ("plant/attic/air", b'{"temperature": 1}'))
        (site.folder / "data/control").rename(site.folder / "data/lost")
        (line,) = await site.beside("adopt", "attic/air", code=3)
        assert "another redcar is running on this log" in line
        (site.folder / "data/lost").rename(site.folder / "data/control")
        with pytest.raises(StoreLocked):
            await Log.open(site.folder / "data", gateway.clock)

    site.run(story)
