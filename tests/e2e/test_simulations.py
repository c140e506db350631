"""What the JavaScript client can simulate: breaks of its own making, and faults that it asks the server
for."""

import asyncio

import pytest
from harness.browser import Page
from harness.peer import Peer
from harness.stage import Stage
from harness.tokens import token
from harness.wait import until
from livekit import rtc

# Not waited for: some of them end only when the client is back.
_SIMULATE = "(scenario) => void window.anteroom.room.simulateScenario(scenario)"
_SID = "() => window.anteroom.room.localParticipant.sid"


async def both_hear(ada: Page, bob: Peer) -> None:
    await asyncio.gather(ada.hears("bob"), bob.hears("ada"))


async def meeting(stage: Stage) -> tuple[Page, Peer]:
    """Ada in a browser and Bob hear each other."""
    up = await stage.up()
    bob = await stage.peer(up.ws, "standup", "bob", video=False)
    access = token("standup", "ada")
    ada = await stage.page(f"{up.http}/standup?autojoin=1&audio=1&video=0#token={access}")
    await ada.observe()
    await both_hear(ada, bob)
    return ada, bob


@pytest.mark.parametrize(
    ("scenario", "resumes", "breaks"),
    [
        ("signal-reconnect", True, 1),
        # The server's part is a second break.
        ("disconnect-signal-on-resume", True, 2),
        ("disconnect-signal-on-resume-no-messages", True, 2),
        ("migration", True, 1),
        ("node-failure", False, 1),
        ("leave-full-reconnect", False, 1),
    ],
)
async def test_a_browser_is_back_after_a_simulated_break(
    stage: Stage, scenario: str, resumes: bool, breaks: int
) -> None:
    ada, bob = await meeting(stage)
    sid = await ada.page.evaluate(_SID)
    before = len(ada.signalling())
    await ada.page.evaluate(_SIMULATE, scenario)

    async def is_back() -> bool:
        return len(ada.signalling()) >= before + breaks and bool(await ada.happened("reconnected"))

    await until("Ada is back", is_back, seconds=40, state=ada.story)
    await both_hear(ada, bob)
    # Who joins anew is somebody else to the others.
    assert (await ada.page.evaluate(_SID) == sid) == resumes
    assert bool(bob.happened("participant_disconnected")) != resumes, bob.story()
    assert not await ada.happened("disconnected")
    assert not bob.happened("reconnecting", "disconnected"), bob.story()


async def test_a_browser_that_the_server_sends_away_is_told_why(stage: Stage) -> None:
    ada, bob = await meeting(stage)
    reasons: list[str] = []
    bob.room.on(
        "participant_disconnected",
        lambda who: reasons.append(rtc.DisconnectReason.Name(who.disconnect_reason)),
    )
    await ada.page.evaluate(
        """() => { window.anteroom.room.once("disconnected", (reason) => (window.reason = reason)); }"""
    )
    await ada.page.evaluate(_SIMULATE, "server-leave")
    reason = await until(
        "Ada is sent away", lambda: ada.page.evaluate("() => window.reason"), state=ada.story
    )
    assert rtc.DisconnectReason.Name(reason) == "SERVER_SHUTDOWN"
    await until("Bob is told", lambda: reasons == ["SERVER_SHUTDOWN"], state=lambda: reasons)
    # The page, not the library, joins again.
    await both_hear(ada, bob)
