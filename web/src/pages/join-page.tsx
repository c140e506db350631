// `/`: choose a room.

import type { JSX } from 'preact';
import { useRef, useState } from 'preact/hooks';
import { Mark } from '../lib/icons';
import { checkRoomName, suggestRoomName } from '../lib/room-name';
import { connectionPath, roomPath } from '../lib/route';

export function JoinPage({ problem: initialProblem }: { problem: string | null }): JSX.Element {
  const [name, setName] = useState('');
  const [submitted, setSubmitted] = useState(false);
  const [placeholder] = useState(() => suggestRoomName());
  const field = useRef<HTMLInputElement>(null);

  const checked = checkRoomName(name);
  // An empty field is only a mistake once somebody tried to go on with it.
  const problem = !checked.ok && (name !== '' || submitted) ? checked.problem : name === '' ? initialProblem : null;

  const go = (event: Event): void => {
    event.preventDefault();
    setSubmitted(true);
    if (checked.ok) location.assign(roomPath(checked.name));
    else field.current?.focus();
  };

  return (
    <main class="entry">
      <form class="card narrow" onSubmit={go} noValidate>
        <div class="brand">
          <Mark />
          <span>Anteroom</span>
        </div>
        <h1>Join a room</h1>
        <p class="muted">Everyone who opens the same room meets there. No account needed.</p>
        <label class="field">
          <span>Room name</span>
          <input
            ref={field}
            data-testid="room-field"
            value={name}
            placeholder={placeholder}
            autoFocus
            autocomplete="off"
            autocapitalize="none"
            spellcheck={false}
            enterkeyhint="go"
            aria-invalid={problem !== null}
            aria-describedby="room-problem"
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <p id="room-problem" class="problem" role="alert" data-testid="room-problem">
          {problem}
        </p>
        <button class="primary" type="submit" data-testid="room-submit">
          Continue
        </button>
        <button class="quiet" type="button" onClick={() => location.assign(roomPath(placeholder))}>
          Start in {placeholder}
        </button>
        <a class="quiet" href={connectionPath(null)}>
          Test my connection
        </a>
      </form>
    </main>
  );
}
