// After the meeting.

import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { Mark } from '../lib/icons';

export function EndPage({ why, onRejoin }: { why: string; onRejoin: () => void }): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  // The page changed under the focus; screen readers hear why.
  useEffect(() => heading.current?.focus(), []);
  return (
    <main class="entry">
      <div class="card narrow centered" data-testid="end-page">
        <Mark />
        <h1 ref={heading} tabIndex={-1}>
          {why}
        </h1>
        <button class="primary" type="button" data-testid="rejoin-button" onClick={onRejoin}>
          Join again
        </button>
        <a class="quiet" href="/">
          Choose another room
        </a>
      </div>
    </main>
  );
}
