// What the browser remembers between visits. Storage may be forbidden or full: then nothing is remembered.

export interface Settings {
  name: string;
  audio: boolean;
  video: boolean;
  microphone: string;
  camera: string;
  speaker: string;
}

const KEY = 'anteroom.settings';
const DEFAULTS: Settings = { name: '', audio: true, video: true, microphone: '', camera: '', speaker: '' };

export const NAME_CHARACTERS_MAX = 64;

export function loadSettings(): Settings {
  const settings: Settings = { ...DEFAULTS };
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    if (typeof stored !== 'object' || stored === null) return settings;
    const known = stored as Record<string, unknown>;
    for (const key of ['name', 'microphone', 'camera', 'speaker'] as const) {
      const value = known[key];
      if (typeof value === 'string') settings[key] = value;
    }
    for (const key of ['audio', 'video'] as const) {
      const value = known[key];
      if (typeof value === 'boolean') settings[key] = value;
    }
  } catch {
    // Unreadable storage counts as empty.
  }
  return settings;
}

export function saveSettings(change: Partial<Settings>): void {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...loadSettings(), ...change }));
  } catch {
    // See above.
  }
}

const tokenKey = (room: string): string => `anteroom.token.${room}`;

/** A token from the page's address outlives a reload of this tab, and nothing else. */
export function keepToken(room: string, token: string): void {
  try {
    sessionStorage.setItem(tokenKey(room), token);
  } catch {
    // See above.
  }
}

export function keptToken(room: string): string | null {
  try {
    return sessionStorage.getItem(tokenKey(room));
  } catch {
    return null;
  }
}
