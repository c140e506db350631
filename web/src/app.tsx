// Which page the address means. Moving between pages is an ordinary navigation, so that every address
// also works when typed, and a reload is always a clean start.

import type { JSX } from 'preact';
import { parseRoute } from './lib/route';
import { ConnectionPage } from './pages/connection-page';
import { JoinPage } from './pages/join-page';
import { RoomPage } from './pages/room-page';

export function App(): JSX.Element {
  const route = parseRoute(location.pathname);
  if (route.page === 'room') return <RoomPage roomName={route.room} />;
  if (route.page === 'connection') return <ConnectionPage />;
  return <JoinPage problem={route.problem ?? null} />;
}
