"""Resume: signalling breaks, media goes on, nobody leaves."""

import pytest
from harness.peer import pair
from harness.relay import Relay
from harness.stage import Stage
from harness.wait import until


@pytest.mark.parametrize(
    "single", [True, False], ids=["one peer connection", "two peer connections"]
)
async def test_a_native_client_resumes_after_its_websocket_was_cut(
    stage: Stage, single: bool
) -> None:
    up = await stage.up()
    relay = await stage.enter(Relay(up.bind))
    ann = await stage.peer(f"ws://{relay.address}", "standup", "ann", single=single)
    bob = await stage.peer(up.ws, "standup", "bob", single=single)
    await bob.sees("ann")
    await ann.sees("bob")
    sid = ann.sid
    published = len(ann.happened("local_track_republished"))

    assert relay.cut() > 0
    await until("ann notices", lambda: ann.happened("reconnecting"), state=ann.story)
    await until(
        "ann is connected again",
        lambda: ann.happened("reconnected") and ann.connected(),
        seconds=40,
        state=ann.story,
    )
    for one, other in ((ann, "bob"), (bob, "ann")):
        await one.sees(other)
        await one.hears(other)
    assert not bob.happened("participant_disconnected"), bob.story()
    assert not bob.happened("reconnecting", "disconnected"), bob.story()
    assert not ann.happened("disconnected"), ann.story()
    assert ann.sid == sid, "a resume keeps the participant"
    assert len(ann.happened("local_track_republished")) == published, (
        f"a full reconnect where a resume was due:\n{ann.story()}"
    )

    # Signalling works in both directions after it.
    cy = await stage.peer(up.ws, "standup", "cy", video=False, single=single)
    await ann.hears("cy")
    await cy.hears("ann")


async def test_a_browser_resumes_after_its_websocket_was_cut(stage: Stage) -> None:
    up = await stage.up()
    relay = await stage.enter(Relay(up.bind))
    bob = await stage.peer(up.ws, "standup", "bob")
    page = await stage.page(
        f"http://{relay.address}/standup?autojoin=1&name=Ada&audio=1&video=1&single=1"
    )
    await page.sees("bob")
    identity = await page.identity()
    await bob.sees(identity)
    sockets = len(page.sockets)

    assert relay.cut() > 0
    await until("the browser connects again", lambda: len(page.sockets) > sockets, state=page.story)
    await page.sees("bob")
    await bob.sees(identity)
    await bob.hears(identity)
    assert not bob.happened("participant_disconnected"), bob.story()


async def test_cutting_one_connection_again_and_again_does_no_harm(stage: Stage) -> None:
    up = await stage.up()
    relay = await stage.enter(Relay(up.bind))
    ann, bob = await pair(stage, up.ws, "standup", video=False)
    cy = await stage.peer(f"ws://{relay.address}", "standup", "cy", video=False)
    for times in range(1, 4):
        relay.cut()
        await until(
            f"cy is back, {times} times",
            lambda times=times: len(cy.happened("reconnected")) >= times and cy.connected(),
            seconds=40,
            state=cy.story,
        )
    await cy.hears("ann", "bob")
    await ann.hears("cy")
    assert not ann.happened("participant_disconnected"), ann.story()
    assert not bob.happened("reconnecting"), bob.story()
