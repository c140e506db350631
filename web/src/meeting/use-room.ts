// Which SDK events make which parts of a meeting draw again.

import { observeParticipantEvents, observeRoomEvents } from '@livekit/components-core';
import { type Participant, ParticipantEvent, type Room, RoomEvent } from 'livekit-client';
import { useRedrawOn } from '../lib/observe';

const MEMBERSHIP = [
  RoomEvent.ConnectionStateChanged,
  RoomEvent.ParticipantConnected,
  RoomEvent.ParticipantDisconnected,
  RoomEvent.ParticipantActive,
  RoomEvent.ParticipantNameChanged,
  RoomEvent.TrackPublished,
  RoomEvent.TrackUnpublished,
  RoomEvent.TrackSubscribed,
  RoomEvent.TrackUnsubscribed,
  RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished,
];

const PARTICIPANT = [
  ParticipantEvent.TrackPublished,
  ParticipantEvent.TrackUnpublished,
  ParticipantEvent.TrackSubscribed,
  ParticipantEvent.TrackUnsubscribed,
  ParticipantEvent.TrackMuted,
  ParticipantEvent.TrackUnmuted,
  ParticipantEvent.TrackStreamStateChanged,
  ParticipantEvent.LocalTrackPublished,
  ParticipantEvent.LocalTrackUnpublished,
  ParticipantEvent.IsSpeakingChanged,
  ParticipantEvent.ConnectionQualityChanged,
  ParticipantEvent.ParticipantNameChanged,
  ParticipantEvent.ParticipantPermissionsChanged,
];

/** Draws again when somebody or some track comes or goes. */
export function useMembership(room: Room): void {
  useRedrawOn(() => observeRoomEvents(room, ...MEMBERSHIP), [room]);
}

/** Draws again when the set of current speakers changes. */
export function useSpeakers(room: Room): void {
  useRedrawOn(() => observeRoomEvents(room, RoomEvent.ActiveSpeakersChanged), [room]);
}

/** Draws again when this participant mutes, speaks, is renamed, publishes… */
export function useParticipant(participant: Participant): void {
  useRedrawOn(() => observeParticipantEvents(participant, ...PARTICIPANT), [participant]);
}

/** Draws again when the browser starts or stops letting audio play. */
export function usePlayback(room: Room): void {
  useRedrawOn(() => observeRoomEvents(room, RoomEvent.AudioPlaybackStatusChanged), [room]);
}

/** Oneself first, then the others in the order they came. */
export function everybody(room: Room): Participant[] {
  const joined = (participant: Participant): number => participant.joinedAt?.getTime() ?? 0;
  const others = [...room.remoteParticipants.values()].sort((a, b) => joined(a) - joined(b));
  return [room.localParticipant, ...others];
}

export function displayName(participant: Participant): string {
  return participant.name || participant.identity || 'Guest';
}
