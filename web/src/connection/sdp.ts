// What the test reads and changes of the server's answer: addresses by protocol, and TURN servers.

/** The answer with addresses of this protocol only; null if it has none. */
export function keepCandidates(sdp: string, protocol: 'udp' | 'tcp'): string | null {
  let kept = 0;
  const lines = sdp.split(/\r?\n/).filter((line) => {
    if (!line.startsWith('a=candidate:')) return true;
    const matches = line.split(' ')[2]?.toLowerCase() === protocol;
    if (matches) kept += 1;
    return matches;
  });
  return kept > 0 ? lines.join('\r\n') : null;
}

/** Ports of the addresses of this protocol, each once. */
export function portsOf(sdp: string, protocol: 'udp' | 'tcp'): string[] {
  const lines = (keepCandidates(sdp, protocol) ?? '').split('\r\n').filter((line) => line.startsWith('a=candidate:'));
  return [...new Set(lines.map((line) => line.split(' ')[5] ?? ''))].filter((port) => port !== '');
}

export type Relay = 'relay-udp' | 'relay-tcp' | 'relay-tls';

export interface TurnServer {
  kind: Relay;
  server: RTCIceServer;
}

function kindOf(url: string): Relay | null {
  if (/^turns:/.test(url)) return 'relay-tls';
  if (!/^turn:/.test(url)) return null;
  return /transport=tcp/.test(url) ? 'relay-tcp' : 'relay-udp';
}

/** TURN servers in the `Link` fields of an answer (RFC 9725 section 4.6), one URL each. */
export function turnServers(links: string | null): TurnServer[] {
  const found: TurnServer[] = [];
  for (const [, url, parameters] of (links ?? '').matchAll(/<([^>]*)>((?:\s*;\s*[\w-]+="(?:[^"\\]|\\.)*")*)/g)) {
    const kind = kindOf(url ?? '');
    const values = new Map<string, string>();
    for (const [, name, value] of (parameters ?? '').matchAll(/;\s*([\w-]+)="((?:[^"\\]|\\.)*)"/g)) {
      values.set(name ?? '', (value ?? '').replace(/\\(.)/g, '$1'));
    }
    if (kind === null || url === undefined || values.get('rel') !== 'ice-server') continue;
    const server = { urls: url, username: values.get('username') ?? '', credential: values.get('credential') ?? '' };
    found.push({ kind, server });
  }
  return found;
}
