// Shows the short messages.

import type { JSX } from 'preact';
import { useCell } from '../lib/cell';
import { CloseIcon } from '../lib/icons';
import type { Notices } from './notices';

export function NoticeStack({ notices }: { notices: Notices }): JSX.Element {
  const list = useCell(notices.list);
  return (
    <div class="notices" role="status">
      {list.map((notice) => (
        <div key={notice.id} class={`notice ${notice.tone}`} data-testid="notice">
          <span>{notice.text}</span>
          <button type="button" class="quiet" aria-label="Dismiss" onClick={() => notices.dismiss(notice.id)}>
            <CloseIcon />
          </button>
        </div>
      ))}
    </div>
  );
}
