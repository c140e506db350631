// The state of the connection, while it is worth a word.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useCell } from '../lib/cell';
import { bannerText } from '../lib/reconnect';
import type { Session } from './session';

export function Banner({ session }: { session: Session }): JSX.Element {
  const link = useCell(session.link);
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    setNow(Date.now());
    if (link.kind !== 'waiting') return;
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [link]);
  const banner = bannerText(link, now);
  // The empty element stays: live regions must exist before they speak.
  return (
    <div class="banner-place" role="status">
      {banner && (
        <div class={`banner ${banner.tone}`} data-testid="banner" data-state={link.kind}>
          <span>{banner.text}</span>
          {banner.button !== null && (
            <button type="button" data-testid="banner-retry" onClick={() => session.retry()}>
              {banner.button}
            </button>
          )}
        </div>
      )}
    </div>
  );
}
