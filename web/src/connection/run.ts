// The test itself: one step after the other, each told as it ends.

import { deviceProblem, type MediaKind, openDevice } from '../lib/devices';
import { startMicMeter } from '../lib/mic-meter';
import { signalUrl } from '../lib/route';
import { keptToken } from '../lib/settings';
import { fetchTicket, isFresh, TokenError, whyRefused } from '../lib/token';
import {
  failed,
  microphoneResult,
  notOffered,
  ok,
  type Result,
  serverResult,
  skipped,
  type StepId,
  websocketResult,
} from './verdict';
import type { TurnServer } from './sdp';
import { DIRECT, RELAYS, tryWay } from './ways';

const ANSWER_TIMEOUT_MS = 10_000;
/** How long the microphone is listened to. */
const LISTEN_MS = 3_000;
const LOUD_ENOUGH = 0.1;

type Tell = (result: Result) => void;
/** A step begins. */
type Begin = (id: StepId) => void;

interface Pass {
  room: string;
  token: string;
}

/** A room that nobody else is in. */
function testRoom(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  return `connection-test-${[...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

async function askServer(room: string): Promise<Result> {
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  try {
    const response = await fetch(`/r/${encodeURIComponent(room)}/`, { method: 'HEAD', cache: 'no-store', signal });
    return serverResult(response.status, response.headers.get('x-anteroom-shard'));
  } catch {
    return serverResult(null, null);
  }
}

/**
 * A token: the server's own for a room of this test, else that of the meeting from which the person came.
 * Its room is then joined for some seconds, under its name.
 */
async function pass(room: string, meeting: string | null): Promise<Pass | Result> {
  try {
    const ticket = await fetchTicket(room, 'Connection test');
    return { room, token: ticket.token };
  } catch (error) {
    const kept = meeting === null ? null : keptToken(meeting);
    if (meeting !== null && kept !== null && isFresh(kept, Date.now())) {
      const refused = await whyRefused(meeting, kept);
      if (refused !== null) return failed('token', 'Your invitation is not accepted.', refused);
      return { room: meeting, token: kept };
    }
    if (error instanceof TokenError && error.fromApplication) {
      const text = 'This server takes invitations of its own application only. Open the test from your meeting’s page.';
      return skipped('token', text);
    }
    const why = error instanceof Error ? error.message : '';
    return failed('token', `The server gives no token. ${why}`, 'See the log of the shard.');
  }
}

/** The older form of the protocol needs no offer to get in. */
function askWebSocket({ room, token }: Pass): Promise<Result> {
  const query = new URLSearchParams({ access_token: token, auto_subscribe: '0', protocol: '16' });
  return new Promise((resolve) => {
    const socket = new WebSocket(`${signalUrl(location.origin, room)}/rtc?${query}`);
    const done = (opened: boolean): void => {
      clearTimeout(timer);
      socket.close();
      resolve(websocketResult(opened));
    };
    const timer = setTimeout(() => done(false), ANSWER_TIMEOUT_MS);
    // The first message says that the room lets us in; an open socket alone does not.
    socket.onmessage = () => done(true);
    socket.onerror = () => done(false);
    socket.onclose = () => done(false);
  });
}

async function tryMedia(it: Pass, begin: Begin, tell: Tell): Promise<void> {
  let relays: TurnServer[] = [];
  for (const way of DIRECT) {
    begin(way.id);
    const tried = await tryWay(it.room, it.token, way);
    if (tried.relays.length > 0) relays = tried.relays;
    tell(tried.result);
  }
  for (const id of RELAYS) {
    const relay = relays.find((offered) => offered.kind === id);
    if (!relay) {
      tell(notOffered(id));
      continue;
    }
    begin(id);
    tell((await tryWay(it.room, it.token, { id, protocol: 'udp', relay })).result);
  }
}

/** The loudest moment, as long as it takes to be sure. */
function loudest(track: MediaStreamTrack): Promise<number> {
  return new Promise((resolve) => {
    let most = 0;
    const done = (): void => {
      clearTimeout(timer);
      stop();
      resolve(most);
    };
    const timer = setTimeout(done, LISTEN_MS);
    const stop = startMicMeter(track, (level) => {
      most = Math.max(most, level);
      if (most > LOUD_ENOUGH) setTimeout(done);
    });
  });
}

async function tryDevice(kind: MediaKind, id: 'microphone' | 'camera', deviceId: string): Promise<Result> {
  try {
    const track = await openDevice(kind, deviceId);
    try {
      if (kind === 'audio') return microphoneResult(await loudest(track));
      const { width, height } = track.getSettings();
      return ok(id, width && height ? `It shows a picture of ${width} × ${height}.` : 'It shows a picture.');
    } finally {
      track.stop();
    }
  } catch (error) {
    return failed(id, deviceProblem(error, kind));
  }
}

export interface Wanted {
  /** The meeting from which the person came. */
  meeting: string | null;
  microphone: string;
  camera: string;
}

/** Makes all steps. What needs a step that failed is left out. */
export async function runTest(wanted: Wanted, begin: Begin, tell: Tell): Promise<void> {
  begin('server');
  const room = testRoom();
  const server = await askServer(room);
  tell(server);
  if (server.status === 'ok') {
    begin('token');
    const admitted = await pass(room, wanted.meeting);
    if ('status' in admitted) {
      tell(admitted);
    } else {
      tell(ok('token', 'The server lets you in.'));
      begin('websocket');
      tell(await askWebSocket(admitted));
      await tryMedia(admitted, begin, tell);
    }
  }
  begin('microphone');
  tell(await tryDevice('audio', 'microphone', wanted.microphone));
  begin('camera');
  tell(await tryDevice('video', 'camera', wanted.camera));
}
