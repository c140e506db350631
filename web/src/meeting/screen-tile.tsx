// A shared screen: as large as possible, never cropped.

import { type Participant, Track } from 'livekit-client';
import type { JSX } from 'preact';
import { TrackVideo } from './track-video';
import { displayName, useParticipant } from './use-room';

export function ScreenTile({ participant }: { participant: Participant }): JSX.Element | null {
  useParticipant(participant);
  const track = participant.getTrackPublication(Track.Source.ScreenShare)?.track;
  if (!track) return null;
  const label = participant.isLocal ? 'Your screen' : `Screen of ${displayName(participant)}`;
  return (
    <article class="tile screen" data-testid={`screen-${participant.identity}`} aria-label={label}>
      <TrackVideo key={track.sid ?? track.mediaStreamID} track={track} fit="contain" label={label} />
      <div class="tile-label">
        <span class="tile-name">{label}</span>
      </div>
    </article>
  );
}
