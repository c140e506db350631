// What each step's outcome means, in plain words, and what the administrator should be told.

import type { Relay } from './sdp';

export type StepId = 'server' | 'token' | 'websocket' | 'udp' | 'tcp' | Relay | 'microphone' | 'camera';

export type Status = 'ok' | 'failed' | 'skipped';

export interface Result {
  id: StepId;
  status: Status;
  /** For the person in front of the screen. */
  text: string;
  /** For whoever runs the server or the network; empty: nothing. */
  tell: string;
}

/** In the order in which they are tried. */
export const STEPS: readonly { id: StepId; title: string }[] = [
  { id: 'server', title: 'Server' },
  { id: 'token', title: 'Admission' },
  { id: 'websocket', title: 'Signalling (WebSocket)' },
  { id: 'udp', title: 'Media by UDP' },
  { id: 'tcp', title: 'Media by TCP' },
  { id: 'relay-udp', title: 'Media through a relay by UDP' },
  { id: 'relay-tcp', title: 'Media through a relay by TCP' },
  { id: 'relay-tls', title: 'Media through a relay by TLS' },
  { id: 'microphone', title: 'Microphone' },
  { id: 'camera', title: 'Camera' },
];

const WAYS: readonly StepId[] = ['udp', 'tcp', 'relay-udp', 'relay-tcp', 'relay-tls'];

export function ok(id: StepId, text: string): Result {
  return { id, status: 'ok', text, tell: '' };
}

export function failed(id: StepId, text: string, tell = ''): Result {
  return { id, status: 'failed', text, tell };
}

export function skipped(id: StepId, text: string): Result {
  return { id, status: 'skipped', text, tell: '' };
}

/** Whether the shard of a room answers; null: nobody does. */
export function serverResult(status: number | null, shard: string | null): Result {
  if (status === null) {
    return failed(
      'server',
      'The server does not answer. Check your own Internet connection first.',
      'The page was loaded, and then the server did not answer requests from it.',
    );
  }
  const by = shard === null ? '' : ` (shard ${shard})`;
  if (status >= 500) {
    return failed(
      'server',
      'The server is there, and the part of it that runs meetings is not.',
      `The gateway answers ${status} for the room’s shard${by}: it is down, or out of the gateway’s reach.`,
    );
  }
  return ok('server', `It answers${by}.`);
}

export function websocketResult(opened: boolean): Result {
  if (opened) return ok('websocket', 'It opens, and the server lets you into a test room.');
  return failed(
    'websocket',
    'The connection that controls the meeting does not open: something between you and the server blocks it.',
    'HTTP works from here and a WebSocket below /r/ does not. A proxy in front of the server must pass on ' +
      '`Upgrade` and `Connection`; a proxy or firewall of the network must let WebSockets through.',
  );
}

export interface WayFailure {
  /** The server could not be asked for this way. */
  refused?: string;
  /** What the browser says of the relay. */
  relay?: string;
  /** The ports that were tried. */
  ports?: string[];
}

export function wayResult(id: StepId, rttMs: number | null, failure: WayFailure | null): Result {
  if (failure === null) {
    const rtt = rttMs === null ? '' : ` Round trip ${rttMs} ms.`;
    return ok(id, `It works.${rtt}`);
  }
  if (failure.refused !== undefined) {
    return failed(id, 'The server did not want to try.', `The server refused a WHIP session: ${failure.refused}`);
  }
  const ports = failure.ports?.length ? ` ${failure.ports.length > 1 ? 'ports' : 'port'} ${failure.ports.join(', ')}` : '';
  switch (id) {
    case 'udp':
      return failed(
        id,
        'It does not get through.',
        `UDP${ports} of the media node cannot be reached from here (node.udp_port; node.public_ip or ` +
          'node.advertise behind NAT; or a firewall of this network).',
      );
    case 'tcp':
      return failed(
        id,
        'It does not get through.',
        `TCP${ports} of the media node cannot be reached from here (node.tcp_port).`,
      );
    default:
      return failed(
        id,
        'The relay cannot be used.',
        `${failure.relay ?? 'TURN'} does not work from here (node.turn: port, certificate, secret).`,
      );
  }
}

export function notOffered(id: StepId): Result {
  return skipped(id, 'The server does not offer it.');
}

/** A microphone that is open and gives nothing is what people find out last. */
export function microphoneResult(level: number): Result {
  if (level > 0.02) return ok('microphone', 'It hears you.');
  return failed('microphone', 'It is open and hears nothing. Say something; check whether it is muted or another one is chosen.');
}

export interface Verdict {
  tone: 'good' | 'warn' | 'bad';
  title: string;
  text: string;
}

function verdict(tone: Verdict['tone'], title: string, text: string): Verdict {
  return { tone, title, text };
}

const ASK = 'Send the report below to whoever runs this server.';

/** One sentence about it all. */
export function overall(results: readonly Result[]): Verdict {
  const status = (id: StepId): Status | undefined => results.find((result) => result.id === id)?.status;
  if (status('server') === 'failed') return verdict('bad', 'The server cannot be used', ASK);
  if (status('token') === 'failed') return verdict('bad', 'The server does not let you in', ASK);
  if (status('websocket') === 'failed') return verdict('bad', 'Signalling is blocked', `You cannot join from this network. ${ASK}`);
  const ways = results.filter((result) => WAYS.includes(result.id));
  const working = ways.filter((result) => result.status === 'ok');
  const dead = ways.filter((result) => result.status === 'failed');
  if (dead.length > 0 && working.length === 0) {
    return verdict('bad', 'Sound and pictures do not get through', `You can join, and will hear and see nobody. ${ASK}`);
  }
  const devices = results.filter((r) => (r.id === 'microphone' || r.id === 'camera') && r.status === 'failed');
  if (devices.length > 0) {
    const names = devices.map((result) => result.id).join(' and ');
    return verdict('warn', `Your ${names} cannot be used`, 'You can join; see below what to do.');
  }
  if (status('udp') === 'failed') {
    return verdict('warn', 'It works, by a detour', 'UDP is blocked: on a poor line sound and pictures suffer. You can join.');
  }
  if (dead.length > 0) {
    return verdict('good', 'You can join', 'A way that others may need does not work.');
  }
  if (ways.length === 0 || working.length === 0) {
    return verdict('warn', 'What could be tested works', 'Without a token neither signalling nor media can be tested.');
  }
  return verdict('good', 'Everything works', 'You can join.');
}

/** For whoever runs the server: text to copy. */
export function reportText(results: readonly Result[], about: { origin: string; at: string; browser: string }): string {
  const title = (id: StepId): string => STEPS.find((step) => step.id === id)?.title ?? id;
  const lines = results.map((result) => {
    const words = result.tell === '' ? result.text : `${result.text} ${result.tell}`;
    return `${result.status.toUpperCase()}  ${title(result.id)}: ${words}`;
  });
  const head = [`Connection test of ${about.origin}, ${about.at}`, about.browser, overall(results).title, ''];
  return [...head, ...lines].join('\n');
}
