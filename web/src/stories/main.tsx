// A meeting with simulated people, to look at while changing its appearance. Not part of the build.
// `npm run dev`, then /stories.html?count=6&link=waiting&screen=1&messages=1&solo=1&debug=1

import '../styles/base.css';
import '../styles/entry.css';
import '../styles/meeting.css';
import '../styles/tile.css';
import '../styles/panel.css';
import { ConnectionQuality, type Participant, ParticipantEvent, RoomEvent, Track } from 'livekit-client';
import { render } from 'preact';
import type { Link } from '../lib/reconnect';
import { Meeting, Session } from '../meeting';

const NAMES = ['Grace Hopper', 'Alan', 'Katherine Johnson', 'Radia Perlman', 'Linus', 'Margaret Hamilton', 'Edsger'];
const query = new URLSearchParams(location.search);

// The SDK's simulation makes receivers, which browsers do not let pages do.
class NoReceiver {
  readonly getStats = (): Promise<Map<string, unknown>> => Promise.resolve(new Map());
}
Object.assign(window, { RTCRtpReceiver: NoReceiver });

function linkOf(kind: string | null): Link {
  switch (kind) {
    case 'reconnecting':
      return { kind: 'reconnecting' };
    case 'restored':
      return { kind: 'restored', attempt: 0, untilMs: Date.now() + 60_000 };
    case 'waiting':
      return { kind: 'waiting', attempt: 5, atMs: Date.now() + 8000 };
    case 'gone':
      return { kind: 'gone', why: 'You joined this room from another tab or device.' };
    default:
      return { kind: 'ok' };
  }
}

/** Gives a simulated person a name, a quality and sometimes no camera. */
function dress(participant: Participant, index: number): void {
  const inner = participant as unknown as { name: string; _connectionQuality: ConnectionQuality; isSpeaking: boolean };
  inner.name = NAMES[index % NAMES.length] ?? 'Somebody';
  inner._connectionQuality =
    [ConnectionQuality.Excellent, ConnectionQuality.Good, ConnectionQuality.Poor][index % 3] ?? ConnectionQuality.Lost;
  inner.isSpeaking = index === 1;
  for (const publication of participant.trackPublications.values()) {
    const muted = publication.source === Track.Source.Camera ? index % 3 === 2 : index % 4 === 3;
    Object.assign(publication, { metadataMuted: muted });
    if (publication.track) Object.assign(publication.track, { isMuted: muted });
  }
  participant.emit(ParticipantEvent.ConnectionQualityChanged, inner._connectionQuality);
}

async function start(): Promise<void> {
  const wish = { audio: true, video: true, microphone: '', camera: '', speaker: '' };
  const session = new Session({ roomName: 'standup', name: 'Ada Lovelace', token: null, wish, single: true, adaptive: true });
  const { room } = session;
  const count = Number(query.get('count') ?? '6');
  await room.simulateParticipants({
    participants: { count, audio: true, video: true, aspectRatios: [16 / 9] },
    publish: { audio: true, video: true, useRealTracks: true },
  });
  await new Promise((resolve) => setTimeout(resolve, 300));
  dress(room.localParticipant, 0);
  Object.assign(room.localParticipant, { name: 'Ada Lovelace', identity: 'ada' });
  const others = [...room.remoteParticipants.values()];
  others.forEach(dress);
  if (query.has('screen')) {
    const publication = others[0]?.getTrackPublication(Track.Source.Camera);
    if (publication) Object.assign(publication, { source: Track.Source.ScreenShare });
  }
  const say = (text: string, who: Participant | undefined): void => {
    const payload = new TextEncoder().encode(JSON.stringify({ type: 'chat', text, name: 'x', ts: Date.now() }));
    room.emit(RoomEvent.DataReceived, payload as never, who as never, undefined, 'chat');
  };
  if (query.has('messages')) {
    say('Good morning! Can everybody hear me?', others[0]);
    say('Notes of last week: https://example.org/notes/2024-05-01?section=actions-and-decisions', others[1]);
    say('Loud and clear.\nMy camera stays off today.', others[2]);
  }
  if (query.has('notice')) session.notices.show('The camera is in use by another program.', 'warn');
  session.link.set(linkOf(query.get('link')));
  const root = document.getElementById('app');
  if (root) render(<Meeting session={session} debug={query.has('debug')} />, root);
}

void start();
