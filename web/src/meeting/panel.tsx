// The frame of a side panel; on a phone it covers the pictures.

import type { ComponentChildren, JSX } from 'preact';
import { CloseIcon } from '../lib/icons';

interface Props {
  title: string;
  testId: string;
  onClose: () => void;
  children: ComponentChildren;
}

export function SidePanel({ title, testId, onClose, children }: Props): JSX.Element {
  return (
    <aside class="panel" aria-label={title} data-testid={testId}>
      <div class="panel-head">
        <h2>{title}</h2>
        <button type="button" class="quiet" aria-label={`Close ${title.toLowerCase()}`} onClick={onClose}>
          <CloseIcon />
        </button>
      </div>
      {children}
    </aside>
  );
}
