// Browsers may forbid sound until somebody clicks. This is the something to click.

import type { Room } from 'livekit-client';
import type { JSX } from 'preact';
import { SoundIcon } from '../lib/icons';
import { usePlayback } from './use-room';

export function AudioPrompt({ room }: { room: Room }): JSX.Element | null {
  usePlayback(room);
  if (room.canPlaybackAudio) return null;
  return (
    <button type="button" class="audio-prompt" data-testid="start-audio" onClick={() => void room.startAudio()}>
      <SoundIcon /> Turn on sound
    </button>
  );
}
