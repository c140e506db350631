// Watches a room over WHEP. The token is in the fragment of the address (#token=...), or the room gives one.
"use strict";

const room = location.pathname.replace(/\/watch\/?$/, "");
const video = document.querySelector("video");
const status = document.querySelector("[role=status]");
document.body.style.cssText = "margin:0;background:#000;color:#ccc;font-family:sans-serif";
video.style.cssText = "display:block;width:100%;max-height:90vh";
status.style.cssText = "margin:0.5em";

const PAUSE_MS = 1000;
let session = null;

async function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) return given;
  const answer = await fetch(`${room}/api/token`, { method: "POST" });
  if (!answer.ok) throw new Error("no token: open this page with #token=...");
  return (await answer.json()).token;
}

// Ends when the connection does.
async function watch(bearer) {
  const peer = new RTCPeerConnection();
  const stream = new MediaStream();
  video.srcObject = stream;
  peer.ontrack = (event) => stream.addTrack(event.track);
  for (const kind of ["audio", "video"]) peer.addTransceiver(kind, { direction: "recvonly" });
  await peer.setLocalDescription();
  const headers = { authorization: `Bearer ${bearer}`, "content-type": "application/sdp" };
  const answer = await fetch(`${room}/whep`, {
    method: "POST",
    headers,
    body: peer.localDescription.sdp,
  });
  const text = await answer.text();
  if (!answer.ok) {
    peer.close();
    const error = new Error(text);
    error.fatal = answer.status < 500;
    throw error;
  }
  session = { url: answer.headers.get("location"), headers, peer, answer: text };
  const ended = new Promise((resolve) => {
    const look = () => {
      const transport = peer.getReceivers()[0].transport;
      const state = peer.connectionState;
      status.textContent = state;
      if (state === "failed" || transport?.state === "closed") resolve();
      else if (state === "disconnected") restart().catch(resolve);
    };
    peer.onconnectionstatechange = look;
    peer.setRemoteDescription({ type: "answer", sdp: text }).then(() => {
      peer.getReceivers()[0].transport.onstatechange = look;
    }, resolve);
  });
  await ended;
  session = null;
  peer.close();
}

// The network has changed: the same session goes on over another path (RFC 9725 section 4.3.3).
async function restart() {
  const { url, headers, peer, answer } = session;
  await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }));
  const ice = /^a=ice-(ufrag|pwd|options):.*\r\n/gm;
  const offered = peer.localDescription.sdp.match(ice);
  const patched = await fetch(url, {
    method: "PATCH",
    headers: { ...headers, "content-type": "application/trickle-ice-sdpfrag", "if-match": "*" },
    body: [...new Set(offered)].join(""),
  });
  if (!patched.ok) throw new Error(await patched.text());
  const fresh = (await patched.text()).match(/^a=(ice-ufrag|ice-pwd|candidate):.*\r\n/gm).join("");
  const stripped = answer.replace(/^a=(ice-ufrag|ice-pwd|candidate):.*\r\n/gm, "");
  const sdp = stripped.replace(/^(m=.*\r\n(?:c=.*\r\n)?)/gm, `$1${fresh}`);
  await peer.setRemoteDescription({ type: "answer", sdp });
}

addEventListener("pagehide", () => {
  if (session) fetch(session.url, { method: "DELETE", headers: session.headers, keepalive: true });
});

async function run() {
  for (;;) {
    try {
      await watch(await token());
    } catch (error) {
      status.textContent = error.message;
      if (error.fatal) return;
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

run();
