// Gets the token that admits one person to one room.

import { tokenUrl, validateUrl } from './route';

export interface Ticket {
  token: string;
  identity: string;
}

/** Why no token could be had. `final`: asking again would not help. */
export class TokenError extends Error {
  readonly final: boolean;
  /** The server hands out no tokens here: they must come from the application. */
  readonly fromApplication: boolean;

  constructor(message: string, final: boolean, fromApplication = false) {
    super(message);
    this.name = 'TokenError';
    this.final = final;
    this.fromApplication = fromApplication;
  }
}

export const FROM_APPLICATION =
  'This server does not hand out tokens itself. Open the meeting from your application, or add #token=… to the address.';

const ANSWER_TIMEOUT_MS = 10_000;
/** Before its end a token is no longer tried: clocks differ and joining takes a moment. */
const EXPIRY_MARGIN_S = 30;

async function problemOf(response: Response): Promise<TokenError> {
  const text = (await response.text().catch(() => '')).trim().slice(0, 300);
  switch (response.status) {
    case 403:
    case 404:
    case 405:
      return new TokenError(FROM_APPLICATION, true, true);
    case 400:
    case 422:
      return new TokenError(text || 'The server refused this name or room.', true);
    case 429:
      return new TokenError('Too many people are joining right now.', false);
    default:
      return new TokenError(text || `The server answered ${response.status}.`, response.status < 500);
  }
}

/** Asks the shard that owns the room for a token. */
export async function fetchTicket(room: string, name: string): Promise<Ticket> {
  let response: Response;
  try {
    response = await fetch(tokenUrl(room), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name }),
      cache: 'no-store',
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
  } catch {
    throw new TokenError('The server cannot be reached.', false);
  }
  if (!response.ok) throw await problemOf(response);
  const answer: unknown = await response.json().catch(() => null);
  const { token, identity } = (answer ?? {}) as Partial<Ticket>;
  // A single-page fallback may answer this path with HTML and status 200.
  if (typeof token !== 'string') throw new TokenError(FROM_APPLICATION, true, true);
  return { token, identity: typeof identity === 'string' ? identity : '' };
}

/** The server's reason for not letting a token in; null if it has none, or is not there to ask. */
export async function whyRefused(room: string, token: string): Promise<string | null> {
  try {
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
    const response = await fetch(validateUrl(room, token), { cache: 'no-store', signal });
    // Other answers are about the moment, not about this token and this room.
    if (response.status !== 400) return null;
    return (await response.text()).trim().slice(0, 300) || null;
  } catch {
    return null;
  }
}

export interface TokenClaims {
  name: string;
  identity: string;
  room: string;
  /** Seconds since 1970; null if the token does not say. */
  expiresS: number | null;
}

/** Reads a token without checking it (only the server can); null if it is not a JWT. */
export function readToken(token: string): TokenClaims | null {
  const body = token.split('.')[1];
  if (body === undefined) return null;
  try {
    const binary = atob(body.replace(/-/g, '+').replace(/_/g, '/'));
    const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const video = (claims['video'] ?? {}) as Record<string, unknown>;
    const text = (value: unknown): string => (typeof value === 'string' ? value : '');
    const identity = text(claims['sub']);
    return {
      name: text(claims['name']) || identity,
      identity,
      room: text(video['room']),
      expiresS: typeof claims['exp'] === 'number' ? claims['exp'] : null,
    };
  } catch {
    return null;
  }
}

export function isFresh(token: string, nowMs: number): boolean {
  const claims = readToken(token);
  return claims !== null && (claims.expiresS === null || claims.expiresS - EXPIRY_MARGIN_S > nowMs / 1000);
}
