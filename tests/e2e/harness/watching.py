"""What a page receives from the one other participant, ten times a second: `getStats` of its camera
and microphone, and whether the server has paused them."""

from dataclasses import dataclass
from itertools import pairwise

from .browser import Page

# RTCInboundRtpStreamStats, as far as anything here asks for it.
_FIELDS = (
    "packetsReceived",
    "packetsLost",
    "bytesReceived",
    "jitterBufferDelay",
    "jitterBufferEmittedCount",
    "framesDecoded",
    "framesDropped",
    "keyFramesDecoded",
    "frameWidth",
    "frameHeight",
    "freezeCount",
    "totalFreezesDuration",
    "nackCount",
    "pliCount",
    "totalSamplesReceived",
    "concealedSamples",
    "totalAudioEnergy",
)

# Ten minutes; the oldest go.
_SIGHTS_MAX = 6000

_WATCH = """([fields, most]) => {
  const room = window.anteroom.room;
  const seen = (window.watched = { sights: [], states: [] });
  const seconds = () => performance.now() / 1000;
  room.on("trackStreamStateChanged", (publication, state) =>
    seen.states.push([seconds(), publication.kind, state]));
  const inbound = async (publication) => {
    const report = await publication?.track?.getRTCStatsReport();
    const entry = [...(report?.values() ?? [])].find(({ type }) => type === "inbound-rtp");
    return entry && Object.fromEntries(fields.map((field) => [field, entry[field] ?? 0]));
  };
  let looks = false;
  const look = async () => {
    if (looks) return;
    looks = true;
    try {
      const [who] = room.remoteParticipants.values();
      const of = ["camera", "microphone"].map((source) => who?.getTrackPublication(source));
      const [video, audio] = await Promise.all(of.map(inbound));
      const state = of[0]?.track?.streamState ?? "";
      if (video && audio) seen.sights.push({ at: seconds(), video, audio, state });
      if (seen.sights.length > most) seen.sights.shift();
    } finally {
      looks = false;
    }
  };
  setInterval(look, 100);
}"""

_SENT = """async () => {
  const me = window.anteroom.room.localParticipant;
  const report = await me.getTrackPublication("microphone").track.getRTCStatsReport();
  return [...report.values()].find(({ type }) => type === "outbound-rtp").packetsSent;
}"""


@dataclass
class Sight:
    """One look. `at` is the page's clock, seconds; of `video` and `audio` all counts are since the
    start of the stream; `state` is `active` or `paused` (`Track.streamState` of the camera)."""

    at: float
    video: dict[str, float]
    audio: dict[str, float]
    state: str


async def watch(page: Page) -> None:
    """From now on the page looks."""
    await page.page.evaluate(_WATCH, [_FIELDS, _SIGHTS_MAX])


async def clock(page: Page) -> float:
    """The page's clock, seconds."""
    return await page.page.evaluate("() => performance.now() / 1000")


async def sights(page: Page, since: float = 0.0) -> list[Sight]:
    """What was seen since a moment of the page's clock."""
    found = await page.page.evaluate(
        "(since) => window.watched.sights.filter(({ at }) => at >= since)", since
    )
    return [Sight(**one) for one in found]


async def last(page: Page) -> Sight | None:
    """What was seen last."""
    found = await page.page.evaluate("() => window.watched.sights.at(-1) ?? null")
    return found and Sight(**found)


async def states(page: Page, since: float = 0.0) -> list[tuple[float, str, str]]:
    """Events `trackStreamStateChanged` since a moment: when, kind of track, new state."""
    found = await page.page.evaluate("() => window.watched.states")
    return [tuple(state) for state in found if state[0] >= since]


async def spoken(page: Page) -> int:
    """Packets that the page's microphone has sent."""
    return await page.page.evaluate(_SENT)


def grown(seen: list[Sight], kind: str, field: str) -> float:
    """How much a count has grown from the first to the last look."""
    return getattr(seen[-1], kind)[field] - getattr(seen[0], kind)[field]


def longest_still(seen: list[Sight], kind: str, field: str) -> float:
    """The longest time, seconds, in which a count did not grow, before the first growth and after the
    last too."""
    longest, moved = 0.0, seen[0]
    for one in seen[1:]:
        longest = max(longest, one.at - moved.at)
        if getattr(one, kind)[field] > getattr(moved, kind)[field]:
            moved = one
    return longest


def freezes(seen: list[Sight]) -> list[float]:
    """Lengths of the freezes that the browser itself has counted, seconds. Of several that ended
    between two looks each has the length of all."""
    return [
        after.video["totalFreezesDuration"] - before.video["totalFreezesDuration"]
        for before, after in pairwise(seen)
        if after.video["freezeCount"] > before.video["freezeCount"]
    ]


def lost_share(seen: list[Sight], kind: str) -> float:
    """Share of packets that never came by themselves, by RTP's numbers."""
    lost = grown(seen, kind, "packetsLost")
    return lost / max(1.0, lost + grown(seen, kind, "packetsReceived"))


def told(seen: list[Sight]) -> str:
    """A stretch in a line, for people."""
    seconds = seen[-1].at - seen[0].at
    widths = [seen[0].video["frameWidth"]]
    for one in seen:
        if one.video["frameWidth"] != widths[-1]:
            widths.append(one.video["frameWidth"])
    emitted = max(1.0, grown(seen, "video", "jitterBufferEmittedCount"))
    buffer_ms = 1000 * grown(seen, "video", "jitterBufferDelay") / emitted
    kbit_s = [8e-3 * grown(seen, kind, "bytesReceived") / seconds for kind in ("video", "audio")]
    return (
        f"{seconds:.1f} s: width {' > '.join(f'{width:.0f}' for width in widths)}, "
        f"{grown(seen, 'video', 'framesDecoded') / seconds:.1f} frames/s, "
        f"longest still {longest_still(seen, 'video', 'framesDecoded'):.1f} s, "
        f"{len(freezes(seen))} freezes up to {max(freezes(seen), default=0.0):.1f} s, "
        f"lost {lost_share(seen, 'video'):.1%} of video, {lost_share(seen, 'audio'):.1%} of audio, "
        f"buffer {buffer_ms:.0f} ms, {kbit_s[0]:.0f} + {kbit_s[1]:.0f} kbit/s"
    )
