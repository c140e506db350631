// Connects the keyboard map to the meeting.

import { useEffect, useRef } from 'preact/hooks';
import { actionFor, isTyping, type KeyAction } from '../lib/keys';

export function useMeetingKeys(actions: Record<KeyAction, () => void>): void {
  const latest = useRef(actions);
  latest.current = actions;
  useEffect(() => {
    const press = (event: KeyboardEvent): void => {
      // An open dialog has the keyboard to itself.
      if (event.defaultPrevented || document.querySelector('dialog[open]')) return;
      const { key, ctrlKey, altKey, metaKey, repeat } = event;
      const action = actionFor({ key, ctrlKey, altKey, metaKey, repeat, typing: isTyping(event.target) });
      if (action === null) return;
      // Else the letter that opens the chat would be typed into it.
      event.preventDefault();
      latest.current[action]();
    };
    window.addEventListener('keydown', press);
    return () => window.removeEventListener('keydown', press);
  }, []);
}
