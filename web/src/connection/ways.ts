// One try of one way of media: a WHIP session with an empty microphone, over nothing but that way.

import { keepCandidates, portsOf, type Relay, type TurnServer, turnServers } from './sdp';
import { notOffered, type Result, type StepId, wayResult, type WayFailure } from './verdict';

/** ICE gives a way up after about 15 s; people wait for less. */
const CONNECT_TIMEOUT_MS = 8_000;
const ANSWER_TIMEOUT_MS = 10_000;

export interface Way {
  id: StepId;
  /** The addresses of the node that are used. */
  protocol: 'udp' | 'tcp';
  relay: TurnServer | null;
}

export interface Tried {
  result: Result;
  /** What the server offers, as its answer said. */
  relays: TurnServer[];
}

interface Whip {
  answer: string;
  /** To end it. */
  url: string | null;
  relays: TurnServer[];
}

async function publish(room: string, token: string, offer: string): Promise<Whip> {
  const response = await fetch(`/r/${encodeURIComponent(room)}/whip`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/sdp' },
    body: offer,
    signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${response.status} ${text.trim().slice(0, 300)}`);
  return { answer: text, url: response.headers.get('location'), relays: turnServers(response.headers.get('link')) };
}

/** True: connected; false: given up. */
function connected(peer: RTCPeerConnection): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), CONNECT_TIMEOUT_MS);
    const look = (): void => {
      const state = peer.connectionState;
      if (state !== 'connected' && state !== 'failed' && state !== 'closed') return;
      clearTimeout(timer);
      resolve(state === 'connected');
    };
    peer.addEventListener('connectionstatechange', look);
    look();
  });
}

async function roundTripMs(peer: RTCPeerConnection): Promise<number | null> {
  const stats = await peer.getStats();
  let best: number | null = null;
  stats.forEach((entry: Record<string, unknown>) => {
    const seconds = entry['type'] === 'candidate-pair' && entry['nominated'] === true && entry['currentRoundTripTime'];
    if (typeof seconds === 'number') best = Math.round(seconds * 1000);
  });
  return best;
}

/** What the browser has to say about a relay that it cannot use. */
function watchRelay(peer: RTCPeerConnection, failure: WayFailure): void {
  peer.addEventListener('icecandidateerror', (event) => {
    const text = event.errorText ? ` ${event.errorText}` : '';
    failure.relay = `${event.url} (${event.errorCode}${text})`;
  });
}

/** Tries one way, and ends the session again. */
export async function tryWay(room: string, token: string, way: Way): Promise<Tried> {
  const config: RTCConfiguration = way.relay
    ? { iceServers: [way.relay.server], iceTransportPolicy: 'relay' }
    : {};
  const failure: WayFailure = way.relay ? { relay: String(way.relay.server.urls) } : {};
  const peer = new RTCPeerConnection(config);
  let whip: Whip | null = null;
  try {
    watchRelay(peer, failure);
    peer.addTransceiver('audio', { direction: 'sendonly' });
    await peer.setLocalDescription();
    whip = await publish(room, token, peer.localDescription?.sdp ?? '');
    const relays = whip.relays;
    const sdp = keepCandidates(whip.answer, way.protocol);
    if (sdp === null) return { result: notOffered(way.id), relays };
    failure.ports = portsOf(whip.answer, way.protocol);
    await peer.setRemoteDescription({ type: 'answer', sdp });
    const works = await connected(peer);
    const rtt = works ? await roundTripMs(peer) : null;
    return { result: wayResult(way.id, rtt, works ? null : failure), relays };
  } catch (error) {
    const refused = error instanceof Error ? error.message : String(error);
    return { result: wayResult(way.id, null, { refused }), relays: [] };
  } finally {
    // Before it falls silent: then the server ends the session by itself, and knows it no more.
    await end(whip, token);
    peer.close();
  }
}

async function end(whip: Whip | null, token: string): Promise<void> {
  if (whip?.url === null || whip === null) return;
  const headers = { authorization: `Bearer ${token}` };
  await fetch(whip.url, { method: 'DELETE', headers, keepalive: true }).catch(() => null);
}

export const RELAYS: readonly Relay[] = ['relay-udp', 'relay-tcp', 'relay-tls'];

/** The direct ways. */
export const DIRECT: readonly Way[] = [
  { id: 'udp', protocol: 'udp', relay: null },
  { id: 'tcp', protocol: 'tcp', relay: null },
];
