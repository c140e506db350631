// A face for people without a picture.

/** Up to two letters: of the first and the last word. */
export function initials(name: string): string {
  const words = name.trim().split(/\s+/).filter((word) => word !== '');
  const ends = words.length > 1 ? [words[0], words[words.length - 1]] : words;
  return ends.map((word) => [...(word ?? '')][0] ?? '').join('').toUpperCase();
}

/** The same person has the same colour on every screen; degrees, 0 to 359. */
export function hueOf(identity: string): number {
  let hash = 0;
  for (const c of identity) hash = (hash * 31 + (c.codePointAt(0) ?? 0)) % 3600;
  return hash % 360;
}
