// `?debug=1`: what arrives, once a second, and a report to attach to a question.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { collectNumbers, type Numbers } from './diagnostics';
import type { Session } from './session';

const INTERVAL_MS = 1000;

function rows(numbers: Numbers): string[] {
  const { joinedMs, firstFrameMs } = numbers.timing;
  return [
    `state ${numbers.state} · link ${numbers.link} · rtt ${numbers.rttMs ?? '–'} ms`,
    `joined ${joinedMs ?? '–'} ms · first remote frame ${firstFrameMs ?? '–'} ms`,
    ...numbers.remote.map(({ identity, video, audio }) => {
      const picture = video ? `${video.width}×${video.height} ${video.framesDecoded} frames` : 'no video';
      const sound = audio ? `${Math.round(audio.bytes / 1024)} KiB audio, level ${audio.level.toFixed(2)}` : 'no audio';
      return `${identity}: ${picture}, ${sound}`;
    }),
  ];
}

function download(numbers: Numbers): void {
  const url = URL.createObjectURL(new Blob([JSON.stringify(numbers, null, 2)], { type: 'application/json' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = 'anteroom-report.json';
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

export function DebugOverlay({ session }: { session: Session }): JSX.Element | null {
  const [numbers, setNumbers] = useState<Numbers | null>(null);
  useEffect(() => {
    const update = (): void => void collectNumbers(session).then(setNumbers, () => undefined);
    update();
    const timer = setInterval(update, INTERVAL_MS);
    return () => clearInterval(timer);
  }, [session]);
  if (!numbers) return null;
  return (
    <section class="debug" aria-label="Diagnostics" data-testid="debug">
      <pre>{rows(numbers).join('\n')}</pre>
      <button type="button" class="quiet" onClick={() => download(numbers)}>
        Download report
      </button>
    </section>
  );
}
