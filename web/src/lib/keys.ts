// The keyboard map of a meeting.

export type KeyAction = 'mic' | 'camera' | 'screen' | 'chat' | 'people' | 'help' | 'close';

export const KEYS: readonly { key: string; action: KeyAction; label: string }[] = [
  { key: 'M', action: 'mic', label: 'Mute or unmute the microphone' },
  { key: 'V', action: 'camera', label: 'Turn the camera on or off' },
  { key: 'S', action: 'screen', label: 'Share your screen, or stop' },
  { key: 'C', action: 'chat', label: 'Open or close the chat' },
  { key: 'P', action: 'people', label: 'Open or close the participant list' },
  { key: '?', action: 'help', label: 'Show these shortcuts' },
  { key: 'Esc', action: 'close', label: 'Close the open panel' },
];

export interface KeyPress {
  key: string;
  ctrlKey: boolean;
  altKey: boolean;
  metaKey: boolean;
  repeat: boolean;
  /** The focus is in a field that takes text. */
  typing: boolean;
}

/** Escape also works while typing; no other key does. */
export function actionFor(press: KeyPress): KeyAction | null {
  if (press.ctrlKey || press.altKey || press.metaKey || press.repeat) return null;
  const name = press.key === 'Escape' ? 'Esc' : press.key.toUpperCase();
  const action = KEYS.find((entry) => entry.key === name)?.action ?? null;
  return press.typing && action !== 'close' ? null : action;
}

const TEXTLESS_INPUTS = new Set(['button', 'checkbox', 'radio', 'range', 'submit', 'reset']);

export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !TEXTLESS_INPUTS.has(target.type);
  return target.isContentEditable || target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}
