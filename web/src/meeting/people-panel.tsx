// Who is here.

import type { Participant, Room } from 'livekit-client';
import type { JSX } from 'preact';
import { CameraIcon, MicIcon } from '../lib/icons';
import { SidePanel } from './panel';
import { QualityDot } from './participant-tile';
import { displayName, everybody, useMembership, useParticipant } from './use-room';

function Person({ participant }: { participant: Participant }): JSX.Element {
  useParticipant(participant);
  const { isMicrophoneEnabled: mic, isCameraEnabled: camera } = participant;
  const name = displayName(participant);
  return (
    <li class="person" data-testid={`participant-${participant.identity}`}>
      <QualityDot quality={participant.connectionQuality} />
      <span class="person-name">{participant.isLocal ? `${name} (you)` : name}</span>
      <span class={mic ? '' : 'off'} role="img" aria-label={mic ? 'microphone on' : 'microphone muted'}>
        <MicIcon off={!mic} />
      </span>
      <span class={camera ? '' : 'off'} role="img" aria-label={camera ? 'camera on' : 'camera off'}>
        <CameraIcon off={!camera} />
      </span>
    </li>
  );
}

export function PeoplePanel({ room, onClose }: { room: Room; onClose: () => void }): JSX.Element {
  useMembership(room);
  const people = everybody(room);
  return (
    <SidePanel title="Participants" testId="people-panel" onClose={onClose}>
      <ul class="people" data-testid="participant-list" tabIndex={0} aria-label="Participants">
        {people.map((participant) => (
          <Person key={participant.identity} participant={participant} />
        ))}
      </ul>
    </SidePanel>
  );
}
