// The keyboard map, for people.

import type { JSX } from 'preact';
import { KEYS } from '../lib/keys';
import { Modal } from './modal';

export function HelpDialog({ onClose }: { onClose: () => void }): JSX.Element {
  return (
    <Modal title="Keyboard shortcuts" testId="help-dialog" onClose={onClose}>
      <dl class="keys">
        {KEYS.map(({ key, label }) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{label}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
