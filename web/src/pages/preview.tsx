// The preview picture with its two switches and the meter.

import type { JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { CameraIcon, MicIcon } from '../lib/icons';
import type { PreviewDevice } from '../lib/use-preview';
import { MicLevel } from './mic-level';

interface Props {
  audio: boolean;
  video: boolean;
  microphone: PreviewDevice;
  camera: PreviewDevice;
  onAudio: (on: boolean) => void;
  onVideo: (on: boolean) => void;
}

export function Preview({ audio, video, microphone, camera, onAudio, onVideo }: Props): JSX.Element {
  const element = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    if (element.current) element.current.srcObject = camera.track ? new MediaStream([camera.track]) : null;
  }, [camera.track]);
  const micOff = !audio || microphone.problem !== null;
  const cameraOff = !video || camera.problem !== null;
  return (
    <section class="preview" aria-label="Preview">
      <video ref={element} class={camera.track ? 'mirror' : 'mirror hidden'} muted autoPlay playsInline />
      {!camera.track && <p class="preview-empty">{cameraOff ? 'Your camera is off' : 'Starting the camera…'}</p>}
      <div class="preview-switches">
        <button
          type="button"
          class={micOff ? 'round off' : 'round'}
          aria-label="Microphone"
          aria-pressed={!micOff}
          data-testid="preview-mic"
          onClick={() => onAudio(!audio)}
        >
          <MicIcon off={micOff} />
        </button>
        <button
          type="button"
          class={cameraOff ? 'round off' : 'round'}
          aria-label="Camera"
          aria-pressed={!cameraOff}
          data-testid="preview-camera"
          onClick={() => onVideo(!video)}
        >
          <CameraIcon off={cameraOff} />
        </button>
      </div>
      <MicLevel track={microphone.track} />
    </section>
  );
}
