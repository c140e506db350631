// The row of buttons.

import type { ComponentChildren, JSX } from 'preact';
import { useCell } from '../lib/cell';
import { CameraIcon, ChatIcon, LeaveIcon, MicIcon, PeopleIcon, ScreenIcon } from '../lib/icons';
import type { Session } from './session';
import { useMembership, useParticipant } from './use-room';

export type Panel = 'chat' | 'people';

interface ControlProps {
  id?: string;
  testId: string;
  /** Says what a press will do. */
  label: string;
  shortcut?: string;
  kind?: 'off' | 'on' | 'danger' | undefined;
  expanded?: boolean;
  disabled?: boolean;
  onClick: () => void;
  children: ComponentChildren;
}

function Control(props: ControlProps): JSX.Element {
  const { label, shortcut } = props;
  return (
    <button
      id={props.id}
      type="button"
      class={`round ${props.kind ?? ''}`}
      data-testid={props.testId}
      aria-label={label}
      title={shortcut ? `${label} (${shortcut})` : label}
      aria-keyshortcuts={shortcut}
      aria-expanded={props.expanded}
      disabled={props.disabled}
      onClick={props.onClick}
    >
      {props.children}
    </button>
  );
}

/** Phones cannot share a screen; they do not get the button. */
const CAN_SHARE = typeof navigator.mediaDevices?.getDisplayMedia === 'function';

function MediaControls({ session }: { session: Session }): JSX.Element {
  const me = session.room.localParticipant;
  useParticipant(me);
  const microphone = useCell(session.media.microphone);
  const camera = useCell(session.media.camera);
  const sharing = me.isScreenShareEnabled;
  const mayPublish = me.permissions?.canPublish ?? true;
  return (
    <>
      <Control
        testId="mute-button"
        label={microphone ? 'Mute microphone' : 'Unmute microphone'}
        shortcut="M"
        kind={microphone ? undefined : 'off'}
        disabled={!mayPublish}
        onClick={() => void session.media.toggleMicrophone()}
      >
        <MicIcon off={!microphone} />
      </Control>
      <Control
        testId="camera-button"
        label={camera ? 'Turn camera off' : 'Turn camera on'}
        shortcut="V"
        kind={camera ? undefined : 'off'}
        disabled={!mayPublish}
        onClick={() => void session.media.toggleCamera()}
      >
        <CameraIcon off={!camera} />
      </Control>
      {CAN_SHARE && (
        <Control
          testId="share-button"
          label={sharing ? 'Stop sharing' : 'Share screen'}
          shortcut="S"
          kind={sharing ? 'on' : undefined}
          disabled={!mayPublish}
          onClick={() => void session.media.toggleScreen()}
        >
          <ScreenIcon />
        </Control>
      )}
    </>
  );
}

interface Props {
  session: Session;
  panel: Panel | null;
  onPanel: (panel: Panel) => void;
}

export function Controls({ session, panel, onPanel }: Props): JSX.Element {
  useMembership(session.room);
  const unread = useCell(session.chat.unread);
  const count = session.room.remoteParticipants.size + 1;
  return (
    <footer class="controls" aria-label="Meeting controls">
      <MediaControls session={session} />
      <Control
        id="people-toggle"
        testId="participants-button"
        label={`Participants: ${count}`}
        shortcut="P"
        kind={panel === 'people' ? 'on' : undefined}
        expanded={panel === 'people'}
        onClick={() => onPanel('people')}
      >
        <PeopleIcon />
        <span class="badge calm" data-testid="participants-count">
          {count}
        </span>
      </Control>
      <Control
        id="chat-toggle"
        testId="chat-button"
        label={unread > 0 ? `Chat, ${unread} unread` : 'Chat'}
        shortcut="C"
        kind={panel === 'chat' ? 'on' : undefined}
        expanded={panel === 'chat'}
        onClick={() => onPanel('chat')}
      >
        <ChatIcon />
        {unread > 0 && (
          <span class="badge" data-testid="chat-unread">
            {unread > 99 ? '99+' : unread}
          </span>
        )}
      </Control>
      <Control testId="leave-button" label="Leave the meeting" kind="danger" onClick={() => void session.leave()}>
        <LeaveIcon />
      </Control>
    </footer>
  );
}
