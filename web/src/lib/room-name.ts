// Room names that the server accepts in a path. The page refuses the others while one types, so that
// nobody meets a 400. The server stays the judge; this copy may be stricter in nothing but its words.

/** Bytes of UTF-8; the server refuses longer path segments. */
export const ROOM_BYTES_MAX = 128;

/** First path segments that belong to the server. */
const RESERVED = new Set(['rtc', 'twirp', 'whip', 'whep', 'agent', 'api', 'r', 'settings', 'assets']);

const SEPARATORS = /[/\\?#%]/;
// Control and format characters (zero-width, bidirectional), lone surrogates, line separators, variation
// selectors: two names that look alike would be two rooms.
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Cn}\p{Zl}\p{Zp}\u{FE00}-\u{FE0F}\u{E0100}-\u{E01EF}]/u;

export type RoomName = { ok: true; name: string } | { ok: false; problem: string };

function refuse(problem: string): RoomName {
  return { ok: false, problem };
}

/** Checks a name and gives it in its canonical form (NFC). */
export function checkRoomName(input: string): RoomName {
  if (input === '') return refuse('Give the room a name.');
  const name = input.normalize('NFC');
  if (name.trim() !== name) return refuse('A room name cannot start or end with a space.');
  if (name === '.' || name === '..') return refuse('A room name cannot be only dots.');
  const separator = SEPARATORS.exec(name);
  if (separator) return refuse(`A room name cannot contain “${separator[0]}”.`);
  if (INVISIBLE.test(name)) return refuse('A room name cannot contain invisible characters.');
  const bytes = new TextEncoder().encode(name).length;
  if (bytes > ROOM_BYTES_MAX) {
    return refuse(`That name is ${bytes} bytes long; ${ROOM_BYTES_MAX} is the limit.`);
  }
  if (RESERVED.has(name.toLowerCase())) return refuse(`“${name}” is reserved; choose another name.`);
  return { ok: true, name };
}

const ADJECTIVES = ['amber', 'brisk', 'calm', 'early', 'gentle', 'lucky', 'quiet', 'sunny', 'swift', 'warm'];
const NOUNS = ['alcove', 'cedar', 'harbor', 'lantern', 'meadow', 'otter', 'parlor', 'river', 'summit', 'willow'];

/** A name that is easy to say aloud; `random` gives numbers in [0, 1). */
export function suggestRoomName(random: () => number = Math.random): string {
  const pick = (words: string[]): string => words[Math.floor(random() * words.length)] ?? 'room';
  return `${pick(ADJECTIVES)}-${pick(NOUNS)}-${100 + Math.floor(random() * 900)}`;
}
