"""Resume: signalling breaks, media goes on, nobody leaves."""

from harness.peer import Peer, assert_untouched, pair
from harness.relay import Relay
from harness.stage import Stage
from harness.wait import until


async def test_a_native_client_resumes_after_its_websocket_was_cut(stage: Stage) -> None:
    up = await stage.up()
    relay = await stage.enter(Relay(up.bind))
    ann = await stage.peer(f"ws://{relay.address}", "standup", "ann", single=True)
    bob = await stage.peer(up.ws, "standup", "bob", single=True)
    await bob.sees("ann")
    await ann.sees("bob")
    sid = ann.sid

    assert relay.cut() > 0
    await is_back(ann)
    for one, other in ((ann, "bob"), (bob, "ann")):
        await one.sees(other)
        await one.hears(other)
    assert_untouched(bob)
    assert ann.sid == sid, "a resume keeps the participant"
    assert not ann.happened("local_track_republished"), (
        f"a full reconnect where a resume was due:\n{ann.story()}"
    )

    # Signalling works in both directions after it.
    cy = await stage.peer(up.ws, "standup", "cy", video=False, single=True)
    await ann.hears("cy")
    await cy.hears("ann")


async def test_a_native_client_with_two_peer_connections_comes_back_after_a_cut(
    stage: Stage,
) -> None:
    up = await stage.up()
    relay = await stage.enter(Relay(up.bind))
    ann = await stage.peer(f"ws://{relay.address}", "standup", "ann", single=False)
    bob = await stage.peer(up.ws, "standup", "bob", single=False)
    await bob.sees("ann")

    assert relay.cut() > 0
    # The older form of the protocol may be told to join anew: then it republishes.
    await is_back(ann)
    for one, other in ((ann, "bob"), (bob, "ann")):
        await one.sees(other)
        await one.hears(other)
    assert not bob.happened("reconnecting", "disconnected"), bob.story()


async def is_back(peer: Peer) -> None:
    """Waits until a cut was noticed and mended, without an end in between."""
    await until(f"{peer.identity} notices", lambda: peer.happened("reconnecting"), state=peer.story)
    await until(
        f"{peer.identity} is connected again",
        lambda: peer.happened("reconnected") and peer.connected(),
        seconds=40,
        state=peer.story,
    )
    assert not peer.happened("disconnected"), peer.story()


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
