"""Pages of the web client in a real Chromium with a fake camera and microphone, each in a fresh
profile."""

import asyncio
import contextlib
import os
import shutil
import time

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Playwright,
    async_playwright,
)
from playwright.async_api import Page as BrowserPage

from .wait import PATIENCE, until

EXECUTABLE = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Ten frames a second: two browsers and a server share few cores.
    "--use-fake-device-for-media-stream=fps=10",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    # A page in the background must play on: nobody looks at any of them.
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
]


# A network that lets no UDP out: media goes over TCP or not at all.
NO_UDP = ("--webrtc-ip-handling-policy=disable_non_proxied_udp",)


# What a page writes down of its room: who goes, which data comes, and when frames are shown.
_OBSERVER = """() => {
  const room = window.anteroom.room;
  const seen = (window.observed = { events: [], data: [], gaps: {}, talks: null, sent: 0 });
  const note = (name, detail) => seen.events.push([name, String(detail ?? "")]);
  for (const name of ["signalReconnecting", "reconnecting", "reconnected", "disconnected"])
    room.on(name, () => note(name));
  room.on("participantDisconnected", (who) => note("participantDisconnected", who.identity));
  room.on("trackUnsubscribed", (track, publication, who) =>
    note("trackUnsubscribed", `${who.identity} ${track.kind}`));
  room.on("dataReceived", (payload, who, kind, topic) => {
    if (topic === "test") seen.data.push([who?.identity ?? "", new TextDecoder().decode(payload)]);
  });
  const me = room.localParticipant.identity;
  const shown = (video) => {
    const tile = video.closest("[data-testid^=tile-]");
    const who = tile?.dataset.testid.slice(5);
    if (who && who !== me) {
      const moment = performance.now();
      const gap = (seen.gaps[who] ??= { last: moment, longest: 0, ended: 0 });
      if (moment - gap.last > gap.longest) {
        gap.longest = moment - gap.last;
        gap.ended = moment;
      }
      gap.last = moment;
    }
    video.requestVideoFrameCallback(() => shown(video));
  };
  const watched = new WeakSet();
  setInterval(() => {
    for (const video of document.querySelectorAll("video"))
      if (!watched.has(video)) {
        watched.add(video);
        video.requestVideoFrameCallback(() => shown(video));
      }
  }, 50);
}"""

_TALK = """(pause) => {
  const seen = window.observed;
  const me = window.anteroom.room.localParticipant;
  seen.stop = false;
  seen.talks = (async () => {
    while (!seen.stop) {
      const text = new TextEncoder().encode(String(seen.sent));
      await me.publishData(text, { reliable: true, topic: "test" });
      seen.sent += 1;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
    return seen.sent;
  })();
}"""


class Chromium:
    """One browser process, started when the first page is asked for."""

    def __init__(self, *flags: str) -> None:
        self._flags = flags
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None
        self._count = 0

    async def page(self) -> "Page":
        """A page in a profile of its own."""
        if self._browser is None or not self._browser.is_connected():
            await self._launch()
        assert self._browser is not None
        context = await self._browser.new_context(
            permissions=["camera", "microphone"], viewport={"width": 1000, "height": 700}
        )
        self._count += 1
        return Page(f"page {self._count}", context, await context.new_page())

    async def _launch(self) -> None:
        if self._playwright is None:
            self._playwright = await async_playwright().start()
        self._browser = await self._playwright.chromium.launch(
            executable_path=EXECUTABLE, headless=True, args=[*FLAGS, *self._flags]
        )

    async def close(self) -> None:
        """Ends the browser."""
        if self._browser is not None:
            with contextlib.suppress(Error):
                await self._browser.close()
        if self._playwright is not None:
            await self._playwright.stop()


class Page:
    """A participant in the web client."""

    def __init__(self, name: str, context: BrowserContext, page: BrowserPage) -> None:
        self.name = name
        self.page = page
        self.sockets: list[str] = []
        self._context = context
        self._console: list[str] = []
        self._started = time.monotonic()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._console.append(f"error: {error}"))
        page.on("websocket", lambda socket: self.sockets.append(socket.url))
        page.set_default_timeout(30_000 * PATIENCE)

    async def open(self, url: str, *, joined: bool = True) -> None:
        """Loads a URL; waits until the meeting is joined."""
        await self.page.goto(url, wait_until="domcontentloaded")
        if joined:
            await until(f"{self.name} is in the meeting", self._is_joined, state=self.story)

    async def stats(self) -> dict:
        """`window.anteroom.stats()`: its own state and what arrives from each participant."""
        return await self.page.evaluate("() => window.anteroom.stats()")

    async def identity(self) -> str:
        """The identity under which it takes part."""
        return (await self.stats())["identity"]

    async def of(self, who: str | None = None) -> dict | None:
        """What arrives from one participant, or from the only other one."""
        remote = (await self.stats())["remote"]
        if who is None:
            assert len(remote) <= 1, f"{self.name} has several others: which?"
            return remote[0] if remote else None
        return next((one for one in remote if one["identity"] == who), None)

    async def sees(self, who: str | None = None, *, seconds: float = 40) -> dict:
        """Waits until pictures come from one participant, from now on; gives its last numbers."""
        return await self._grows(who, "video", "framesDecoded", 10, seconds)

    async def hears(self, who: str | None = None, *, seconds: float = 40) -> dict:
        """Waits until sound (energy, not just packets) comes from one participant, from now on;
        gives its last numbers."""
        return await self._grows(who, "audio", "energy", 1e-4, seconds)

    async def _grows(
        self, who: str | None, kind: str, field: str, by: float, seconds: float
    ) -> dict:
        first: list[float] = []

        async def grown() -> dict | None:
            found = await self.of(who)
            media = found and found.get(kind)
            if not media:
                first.clear()
                return None
            value = media.get(field, 0)
            # A reconnect starts the counter anew.
            if not first or value < first[0]:
                first[:] = [value]
            return media if value >= first[0] + by else None

        try:
            whose = who or "the other one"
            return await until(f"{kind} of {whose} grows on {self.name}", grown, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(
                f"{error}\nstats: {await self._safe_stats()}\n{self.story()}"
            ) from None

    async def click(self, test_id: str) -> None:
        """Clicks the element with this `data-testid`."""
        await self.page.get_by_test_id(test_id).first.click()

    async def shows(self, selector: str, *, seconds: float = 20) -> None:
        """Waits until an element is visible."""
        await self.page.locator(selector).first.wait_for(
            state="visible", timeout=seconds * 1000 * PATIENCE
        )

    async def says(self, text: str, *, seconds: float = 20) -> None:
        """Waits until a text is somewhere in the page."""
        await until(
            f"{self.name} shows '{text}'",
            lambda: self.page.evaluate("text => document.body.innerText.includes(text)", text),
            seconds=seconds,
        )

    async def observe(self) -> None:
        """From now on it writes down who goes, what data comes and when frames are shown."""
        await self.page.evaluate(_OBSERVER)

    async def happened(self, *names: str) -> list[list[str]]:
        """The events of these names (`RoomEvent` of the SDK) since `observe`."""
        events = await self.page.evaluate("() => window.observed.events")
        return [event for event in events if event[0] in names]

    async def data(self) -> list[tuple[str, str]]:
        """Data packets that came since `observe`: sender and text."""
        return [tuple(pair) for pair in await self.page.evaluate("() => window.observed.data")]

    async def mark(self) -> None:
        """Starts to measure gaps anew."""
        await self.page.evaluate(
            """() => {
              const now = performance.now();
              window.observed.marked = now;
              for (const gap of Object.values(window.observed.gaps))
                Object.assign(gap, { last: now, longest: 0, ended: 0 });
            }"""
        )

    async def gaps(self) -> dict[str, tuple[float, float]]:
        """For each participant the longest time without a new frame since `mark`, and how long after
        `mark` it ended, seconds."""
        gaps, marked = await self.page.evaluate(
            "() => [window.observed.gaps, window.observed.marked]"
        )
        return {
            who: (gap["longest"] / 1000, (gap["ended"] - marked) / 1000)
            for who, gap in gaps.items()
        }

    async def talk(self, *, pause: float = 0.05) -> None:
        """Sends numbered reliable packets until `hush`."""
        await self.page.evaluate(_TALK, pause * 1000)

    async def hush(self) -> int:
        """Stops; gives how many it has sent."""
        return await self.page.evaluate(
            "() => { window.observed.stop = true; return window.observed.talks; }"
        )

    def signalling(self) -> list[str]:
        """Paths of the WebSockets it has opened, without queries (tokens)."""
        return ["/" + url.split("?")[0].split("/", 3)[3] for url in self.sockets]

    def story(self) -> str:
        """Its console, for people."""
        return "\n".join(self._console[-60:])

    async def close(self) -> None:
        """Closes the page and its profile."""
        with contextlib.suppress(Error):
            await asyncio.wait_for(self._context.close(), 15)

    async def _is_joined(self) -> bool:
        try:
            return await self.page.evaluate(
                "async () => Boolean(window.anteroom)"
                " && (await window.anteroom.stats()).state === 'connected'"
            )
        except Error:
            return False

    async def _safe_stats(self) -> object:
        try:
            return await self.stats()
        except Error as error:
            return error

    def _on_console(self, message: ConsoleMessage) -> None:
        moment = time.monotonic() - self._started
        self._console.append(f"{moment:7.2f} s  {message.type}: {message.text[:400]}")
