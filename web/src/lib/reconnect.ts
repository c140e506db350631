// What the banner says while the connection is in trouble, and when to join again. Pure: time comes in,
// the session and the banner act on what comes out.

export type Link =
  | { kind: 'ok' }
  /** The SDK resumes by itself; media may still flow. */
  | { kind: 'reconnecting' }
  /** Shown for a moment, then `ok`. `attempt`: the join that led here, 0 if the SDK resumed. */
  | { kind: 'restored'; attempt: number; untilMs: number }
  /** The SDK gave up. A fresh join is due at `atMs`. */
  | { kind: 'waiting'; attempt: number; atMs: number }
  | { kind: 'rejoining'; attempt: number }
  /** Nothing more happens without the person. */
  | { kind: 'gone'; why: string };

export type LinkEvent =
  | { type: 'resuming' }
  | { type: 'resumed' }
  /** The session ended; `final` says why if joining again would be wrong (removed, joined elsewhere). */
  | { type: 'lost'; final: string | null }
  | { type: 'joining' }
  | { type: 'joined' }
  | { type: 'join-failed'; final: string | null }
  | { type: 'retry' }
  | { type: 'tick' };

/** Long enough to read, short enough not to cover a face. */
export const RESTORED_SHOWN_MS = 3000;
/** With the delays below about four minutes; after that a person has to ask. */
export const ATTEMPTS_MAX = 32;

const DELAY_FIRST_MS = 500;
const DELAY_MAX_MS = 8000;
/** A crash throws everybody out at once; the spread keeps them from coming back at once. */
const SPREAD = 0.3;

/** Delay before the given attempt (from 1); `random` in [0, 1). */
export function delayMs(attempt: number, random: number): number {
  const base = Math.min(DELAY_MAX_MS, DELAY_FIRST_MS * 2 ** (attempt - 1));
  return Math.round(base * (1 - SPREAD + 2 * SPREAD * random));
}

function waiting(attempt: number, random: number, nowMs: number): Link {
  if (attempt > ATTEMPTS_MAX) return { kind: 'gone', why: 'The server cannot be reached.' };
  return { kind: 'waiting', attempt, atMs: nowMs + delayMs(attempt, random) };
}

function restored(attempt: number, nowMs: number): Link {
  return { kind: 'restored', attempt, untilMs: nowMs + RESTORED_SHOWN_MS };
}

/** The join that is due, under way or only just done; 0 while connected. */
function attemptOf(link: Link): number {
  return 'attempt' in link ? link.attempt : 0;
}

export function nextLink(link: Link, event: LinkEvent, random: number, nowMs: number): Link {
  switch (event.type) {
    case 'resuming':
      return link.kind === 'ok' || link.kind === 'restored' ? { kind: 'reconnecting' } : link;
    case 'resumed':
      return link.kind === 'reconnecting' ? restored(0, nowMs) : link;
    case 'lost':
      if (event.final !== null) return { kind: 'gone', why: event.final };
      // While a join is under way its own outcome decides; counting both would double the attempts.
      if (link.kind === 'rejoining' || link.kind === 'waiting') return link;
      // A server that admits and drops us at once must not be asked twice a second for ever.
      return waiting(attemptOf(link) + 1, random, nowMs);
    case 'joining':
      return { kind: 'rejoining', attempt: Math.max(1, attemptOf(link)) };
    case 'joined':
      return link.kind === 'rejoining' ? restored(link.attempt, nowMs) : { kind: 'ok' };
    case 'join-failed':
      if (event.final !== null) return { kind: 'gone', why: event.final };
      return waiting(attemptOf(link) + 1, random, nowMs);
    case 'retry':
      return link.kind === 'gone' || link.kind === 'waiting'
        ? { kind: 'waiting', attempt: 1, atMs: nowMs }
        : link;
    case 'tick':
      return link.kind === 'restored' && nowMs >= link.untilMs ? { kind: 'ok' } : link;
  }
}

/** When something is due by itself: a join (`waiting`) or the end of the good news. */
export function dueAtMs(link: Link): number | null {
  if (link.kind === 'waiting') return link.atMs;
  return link.kind === 'restored' ? link.untilMs : null;
}

export interface BannerText {
  text: string;
  tone: 'warn' | 'good' | 'bad';
  button: string | null;
}

export function bannerText(link: Link, nowMs: number): BannerText | null {
  switch (link.kind) {
    case 'ok':
      return null;
    case 'reconnecting':
      return { text: 'Connection lost. Reconnecting…', tone: 'warn', button: null };
    case 'restored':
      return { text: 'You are connected again.', tone: 'good', button: null };
    case 'waiting': {
      const seconds = Math.max(0, Math.ceil((link.atMs - nowMs) / 1000));
      const when = seconds > 0 ? `in ${seconds}\u00a0s` : 'now';
      return { text: `Connection lost. Joining again ${when}…`, tone: 'warn', button: 'Try now' };
    }
    case 'rejoining':
      return { text: 'Connection lost. Joining again…', tone: 'warn', button: null };
    case 'gone':
      return { text: link.why, tone: 'bad', button: 'Join again' };
  }
}
