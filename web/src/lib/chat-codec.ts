// Chat messages as JSON in reliable data packets with topic `chat`, so that any client can read them.

export const CHAT_TOPIC = 'chat';
/** Characters of one message; far below the 64,000 bytes a data packet carries, even if all are escaped. */
export const CHAT_TEXT_MAX = 4000;
const CHAT_NAME_MAX = 128;

export interface ChatPacket {
  type: 'chat';
  text: string;
  name: string;
  /** Milliseconds since 1970, by the sender's clock. */
  ts: number;
}

/** Null if nothing remains to be sent. */
export function encodeChat(text: string, name: string, ts: number): Uint8Array<ArrayBuffer> | null {
  const trimmed = text.trim().slice(0, CHAT_TEXT_MAX);
  if (trimmed === '') return null;
  const packet: ChatPacket = { type: 'chat', text: trimmed, name, ts };
  return new TextEncoder().encode(JSON.stringify(packet)) as Uint8Array<ArrayBuffer>;
}

/** Null for anything that is not a chat message; `now` replaces a missing or absurd time. */
export function decodeChat(payload: Uint8Array, now: number): ChatPacket | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(payload));
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { type, text, name, ts } = value as Record<string, unknown>;
  if (type !== 'chat' || typeof text !== 'string' || text.trim() === '') return null;
  return {
    type: 'chat',
    text: text.slice(0, CHAT_TEXT_MAX),
    name: typeof name === 'string' ? name.slice(0, CHAT_NAME_MAX) : '',
    ts: typeof ts === 'number' && Number.isFinite(ts) && ts > 0 && ts <= 8.64e15 ? ts : now,
  };
}

export type ChatPart = { kind: 'text'; text: string } | { kind: 'link'; text: string };

/** Splits a message into plain text and http(s) links, trailing punctuation left outside the link. */
export function splitLinks(text: string): ChatPart[] {
  const parts: ChatPart[] = [];
  let from = 0;
  for (const match of text.matchAll(/https?:\/\/[^\s<>"]+/g)) {
    const link = match[0].replace(/[.,;:!?)\]]+$/, '');
    if (match.index > from) parts.push({ kind: 'text', text: text.slice(from, match.index) });
    parts.push({ kind: 'link', text: link });
    from = match.index + link.length;
  }
  if (from < text.length) parts.push({ kind: 'text', text: text.slice(from) });
  return parts;
}
