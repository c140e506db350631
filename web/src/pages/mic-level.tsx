// The meter under the preview: proof that the right microphone hears you.

import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { startMicMeter } from '../lib/mic-meter';

export function MicLevel({ track }: { track: MediaStreamTrack | null }): JSX.Element {
  const meter = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!track) return;
    const show = (level: number): void => {
      meter.current?.style.setProperty('--level', level.toFixed(3));
      meter.current?.setAttribute('aria-valuenow', String(Math.round(level * 100)));
    };
    const stop = startMicMeter(track, show);
    return () => {
      stop();
      show(0);
    };
  }, [track]);
  return (
    <div
      ref={meter}
      class="mic-level"
      role="meter"
      aria-label="Microphone level"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={0}
      data-testid="mic-level"
    />
  );
}
