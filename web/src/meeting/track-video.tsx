// A video element that shows one track.

import type { Track } from 'livekit-client';
import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

interface Props {
  track: Track;
  mirror?: boolean;
  fit?: 'cover' | 'contain';
  label: string;
  onFirstFrame?: () => void;
}

export function TrackVideo({ track, mirror = false, fit = 'cover', label, onFirstFrame }: Props): JSX.Element {
  const element = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const video = element.current;
    if (!video) return;
    track.attach(video);
    if (onFirstFrame) video.requestVideoFrameCallback?.(onFirstFrame);
    return () => {
      track.detach(video);
    };
  }, [track]);
  const classes = `${fit}${mirror ? ' mirror' : ''}`;
  // Sound comes from its own elements; this one must be allowed to start by itself.
  return <video ref={element} class={classes} aria-label={label} muted autoPlay playsInline />;
}
