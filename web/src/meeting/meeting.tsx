// The meeting: what is where, and which panel is open.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { AudioPrompt } from './audio-prompt';
import { Announcer } from './announcer';
import { Banner } from './banner';
import { ChatPanel } from './chat-panel';
import { Controls, type Panel } from './controls';
import { DebugOverlay } from './debug-overlay';
import { Header } from './header';
import { HelpDialog } from './help-dialog';
import { NoticeStack } from './notice-stack';
import { PeoplePanel } from './people-panel';
import { RemoteAudio } from './remote-audio';
import type { Session } from './session';
import { SettingsDialog } from './settings-dialog';
import { Stage } from './stage';
import { useMeetingKeys } from './use-keys';

export type Dialog = 'help' | 'settings';

export function Meeting({ session, debug }: { session: Session; debug: boolean }): JSX.Element {
  const { room } = session;
  const [panel, setPanel] = useState<Panel | null>(null);
  const [dialog, setDialog] = useState<Dialog | null>(null);
  const toggle = (wanted: Panel): void => setPanel((open) => (open === wanted ? null : wanted));
  const closePanel = (): void => {
    if (panel === null) return;
    setPanel(null);
    // The focus would fall back to the page's start; put it where the panel was opened.
    document.getElementById(`${panel}-toggle`)?.focus();
  };

  useEffect(() => session.chat.setOpen(panel === 'chat'), [session, panel]);
  useMeetingKeys({
    mic: () => void session.media.toggleMicrophone(),
    camera: () => void session.media.toggleCamera(),
    screen: () => void session.media.toggleScreen(),
    chat: () => toggle('chat'),
    people: () => toggle('people'),
    help: () => setDialog('help'),
    close: closePanel,
  });

  return (
    <div class={panel === null ? 'meeting' : 'meeting with-panel'} data-testid="meeting">
      <Header session={session} onDialog={setDialog} />
      <main class="meeting-main">
        <Banner session={session} />
        <Stage room={room} />
        <AudioPrompt room={room} />
        <NoticeStack notices={session.notices} />
        {debug && <DebugOverlay session={session} />}
      </main>
      {panel === 'chat' && <ChatPanel chat={session.chat} onClose={closePanel} />}
      {panel === 'people' && <PeoplePanel room={room} onClose={closePanel} />}
      <Controls session={session} panel={panel} onPanel={toggle} />
      <RemoteAudio room={room} />
      <Announcer session={session} />
      {dialog === 'help' && <HelpDialog onClose={() => setDialog(null)} />}
      {dialog === 'settings' && <SettingsDialog session={session} onClose={() => setDialog(null)} />}
    </div>
  );
}
