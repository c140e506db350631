// The moment between the button and the meeting.

import type { JSX } from 'preact';

export function JoiningPage({ roomName, note }: { roomName: string; note: string | null }): JSX.Element {
  return (
    <main class="entry">
      <div class="card narrow centered" role="status" data-testid="joining">
        <div class="spinner" aria-hidden="true" />
        <h1>Joining {roomName}…</h1>
        {note !== null && <p class="muted">{note} Trying again.</p>}
      </div>
    </main>
  );
}
