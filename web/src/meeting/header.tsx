// Room name, copy link, settings, shortcuts.

import type { JSX } from 'preact';
import { GearIcon, HelpIcon, LinkIcon, Mark } from '../lib/icons';
import { roomPath } from '../lib/route';
import type { Dialog } from './meeting';
import type { Session } from './session';

export function Header({ session, onDialog }: { session: Session; onDialog: (d: Dialog) => void }): JSX.Element {
  const { roomName } = session.options;
  const copy = async (): Promise<void> => {
    const link = `${location.origin}${roomPath(roomName)}`;
    try {
      await navigator.clipboard.writeText(link);
      session.notices.show('Link copied.');
    } catch {
      // Insecure pages have no clipboard: show the link, to be copied by hand.
      session.notices.show(link);
    }
  };
  return (
    <header class="meeting-header">
      <Mark />
      <h1 title={roomName}>{roomName}</h1>
      <button type="button" class="quiet" data-testid="copy-link" aria-label="Copy link" onClick={() => void copy()}>
        <LinkIcon />
        <span class="wide-only">Copy link</span>
      </button>
      <span class="spring" />
      <button type="button" class="quiet" aria-label="Devices" data-testid="settings-button" onClick={() => onDialog('settings')}>
        <GearIcon />
      </button>
      <button type="button" class="quiet" aria-label="Keyboard shortcuts" aria-keyshortcuts="?" data-testid="help-button" onClick={() => onDialog('help')}>
        <HelpIcon />
      </button>
    </header>
  );
}
