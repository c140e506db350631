// Which page a path means, and the paths of rooms. A room name is percent-encoded exactly once.

import { checkRoomName } from './room-name';

export type Route =
  | { page: 'join'; problem?: string }
  | { page: 'connection' }
  | { page: 'room'; room: string };

const CONNECTION = '/settings/connection';

export function roomPath(room: string): string {
  return `/${encodeURIComponent(room)}`;
}

/** Base address for the SDK, which appends `/rtc/v1` (or `/rtc`) itself. */
export function signalUrl(origin: string, room: string): string {
  return `${origin.replace(/^http/, 'ws')}/r/${encodeURIComponent(room)}`;
}

/** The connection test; from a meeting's page it may use the token that is kept for it. */
export function connectionPath(room: string | null): string {
  return room === null ? CONNECTION : `${CONNECTION}#room=${encodeURIComponent(room)}`;
}

export function tokenUrl(room: string): string {
  return `/r/${encodeURIComponent(room)}/api/token`;
}

/** Says in words whether the server would let this token in. */
export function validateUrl(room: string, token: string): string {
  return `/r/${encodeURIComponent(room)}/rtc/v1/validate?access_token=${encodeURIComponent(token)}`;
}

export function parseRoute(pathname: string): Route {
  const segment = pathname.replace(/^\//, '').replace(/\/$/, '');
  if (`/${segment}` === CONNECTION) return { page: 'connection' };
  if (segment === '' || segment === 'index.html') return { page: 'join' };
  let decoded: string;
  try {
    decoded = decodeURIComponent(segment);
  } catch {
    return { page: 'join', problem: 'That address has a broken percent escape.' };
  }
  const checked = checkRoomName(decoded);
  return checked.ok ? { page: 'room', room: checked.name } : { page: 'join', problem: checked.problem };
}
