// Why a meeting ended or could not be joined, in words, and whether trying again makes sense.

import { ConnectionError, ConnectionErrorReason, DisconnectReason } from 'livekit-client';
import { TokenError } from '../lib/token';

export type Ending =
  /** The meeting is over for this person. */
  | { kind: 'over'; why: string }
  /** The person may come back, but only by a decision. */
  | { kind: 'ask'; why: string }
  /** An accident: join again. */
  | { kind: 'accident' };

export function endingOf(reason: DisconnectReason | undefined): Ending {
  switch (reason) {
    case DisconnectReason.CLIENT_INITIATED:
      return { kind: 'over', why: 'You left the meeting.' };
    case DisconnectReason.PARTICIPANT_REMOVED:
      return { kind: 'over', why: 'You were removed from the meeting.' };
    case DisconnectReason.ROOM_DELETED:
    case DisconnectReason.ROOM_CLOSED:
      return { kind: 'over', why: 'The meeting was ended.' };
    case DisconnectReason.DUPLICATE_IDENTITY:
      return { kind: 'ask', why: 'You joined this room from another tab or device.' };
    default:
      return { kind: 'accident' };
  }
}

export interface JoinProblem {
  text: string;
  /** Trying the same again would not help. */
  final: boolean;
  /** The server did not accept the token. */
  refused: boolean;
}

export function joinProblem(error: unknown): JoinProblem {
  if (error instanceof TokenError) return { text: error.message, final: error.final, refused: false };
  if (error instanceof ConnectionError) {
    const refused = error.reason === ConnectionErrorReason.NotAllowed;
    const text = refused
      ? `The server refused to let you in: ${error.message}`
      : 'The connection to the server could not be set up.';
    return { text, final: refused, refused };
  }
  const detail = error instanceof Error ? error.message : String(error);
  return { text: `Joining failed: ${detail}`, final: false, refused: false };
}
