// One person's picture, or initials, with name, microphone and connection quality.

import { ConnectionQuality, type Participant, Track } from 'livekit-client';
import type { JSX } from 'preact';
import { MicIcon } from '../lib/icons';
import { hueOf, initials } from '../lib/initials';
import { noteRemoteFrame } from './diagnostics';
import { TrackVideo } from './track-video';
import { displayName, useParticipant } from './use-room';

const QUALITY: Record<ConnectionQuality, string> = {
  [ConnectionQuality.Excellent]: 'good connection',
  [ConnectionQuality.Good]: 'fair connection',
  [ConnectionQuality.Poor]: 'poor connection',
  [ConnectionQuality.Lost]: 'connection lost',
  [ConnectionQuality.Unknown]: '',
};

export function QualityDot({ quality }: { quality: ConnectionQuality }): JSX.Element | null {
  const text = QUALITY[quality];
  if (text === '') return null;
  return <span class={`quality ${quality}`} role="img" aria-label={text} title={text} />;
}

function Avatar({ participant }: { participant: Participant }): JSX.Element {
  return (
    <div class="avatar" style={{ '--hue': String(hueOf(participant.identity)) }} aria-hidden="true">
      {initials(displayName(participant))}
    </div>
  );
}

export function ParticipantTile({ participant }: { participant: Participant }): JSX.Element {
  useParticipant(participant);
  const name = displayName(participant);
  const camera = participant.getTrackPublication(Track.Source.Camera);
  const video = camera && !camera.isMuted ? camera.track : undefined;
  const quiet = !participant.isMicrophoneEnabled;
  const speaking = participant.isSpeaking && !quiet;
  return (
    <article
      class={speaking ? 'tile speaking' : 'tile'}
      data-testid={`tile-${participant.identity}`}
      data-local={participant.isLocal}
      data-muted-audio={quiet}
      data-muted-video={!participant.isCameraEnabled}
      data-speaking={speaking}
      aria-label={`${name}${participant.isLocal ? ' (you)' : ''}${quiet ? ', microphone muted' : ''}`}
    >
      {/* Below the picture: seen until the first frame comes. */}
      <Avatar participant={participant} />
      {video && (
        <TrackVideo
          key={video.sid ?? video.mediaStreamID}
          track={video}
          mirror={participant.isLocal}
          label={`Video of ${name}`}
          {...(participant.isLocal ? {} : { onFirstFrame: noteRemoteFrame })}
        />
      )}
      <div class="tile-label">
        <QualityDot quality={participant.connectionQuality} />
        {quiet && (
          <span class="tile-muted" title="Microphone muted">
            <MicIcon off />
          </span>
        )}
        <span class="tile-name">{participant.isLocal ? `${name} (you)` : name}</span>
      </div>
    </article>
  );
}
