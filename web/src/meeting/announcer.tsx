// Tells screen readers who came, who left and what was written while the chat is closed.

import { type Participant, RoomEvent } from 'livekit-client';
import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Session } from './session';
import { displayName } from './use-room';

export function Announcer({ session }: { session: Session }): JSX.Element {
  const [text, setText] = useState('');
  useEffect(() => {
    const { room, chat } = session;
    const came = (participant: Participant): void => setText(`${displayName(participant)} joined.`);
    const left = (participant: Participant): void => setText(`${displayName(participant)} left.`);
    const wrote = (): void => {
      const last = chat.messages.get().at(-1);
      // An open chat announces its messages itself.
      if (chat.unread.get() > 0 && last) setText(`${last.name} wrote: ${last.text}`);
    };
    const others = room.remoteParticipants.size;
    setText(others === 0 ? 'You are the only one here.' : `${others} ${others === 1 ? 'other is' : 'others are'} here.`);
    room.on(RoomEvent.ParticipantConnected, came).on(RoomEvent.ParticipantDisconnected, left);
    const unwatch = chat.unread.watch(wrote);
    return () => {
      room.off(RoomEvent.ParticipantConnected, came).off(RoomEvent.ParticipantDisconnected, left);
      unwatch();
    };
  }, [session]);
  return (
    <div class="visually-hidden" aria-live="polite" data-testid="announcer">
      {text}
    </div>
  );
}
