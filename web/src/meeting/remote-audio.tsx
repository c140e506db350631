// Plays everybody else, whether or not their tile is visible.

import type { Room, Track } from 'livekit-client';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { useMembership } from './use-room';

function TrackAudio({ track }: { track: Track }): JSX.Element {
  const element = useRef<HTMLAudioElement>(null);
  useEffect(() => {
    const audio = element.current;
    if (!audio) return;
    track.attach(audio);
    return () => {
      track.detach(audio);
    };
  }, [track]);
  return <audio ref={element} autoPlay />;
}

export function RemoteAudio({ room }: { room: Room }): JSX.Element {
  useMembership(room);
  const tracks = [...room.remoteParticipants.values()].flatMap((participant) =>
    [...participant.audioTrackPublications.values()].map((publication) => publication.track),
  );
  return (
    <div hidden>
      {tracks.map((track) => track && <TrackAudio key={track.sid ?? track.mediaStreamID} track={track} />)}
    </div>
  );
}
