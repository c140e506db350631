// What this person wants to send, and sending it. The wish survives a lost connection: after a fresh join
// the same devices come back. A device that fails turns its wish off and says why.

import type { Room } from 'livekit-client';
import { Cell } from '../lib/cell';
import { deviceProblem } from '../lib/devices';
import { saveSettings } from '../lib/settings';
import type { Notices } from './notices';

export interface MediaWish {
  audio: boolean;
  video: boolean;
  microphone: string;
  camera: string;
  speaker: string;
}

export class LocalMedia {
  readonly microphone: Cell<boolean>;
  readonly camera: Cell<boolean>;
  readonly #room: Room;
  readonly #notices: Notices;

  constructor(room: Room, notices: Notices, wish: MediaWish) {
    this.#room = room;
    this.#notices = notices;
    this.microphone = new Cell(wish.audio);
    this.camera = new Cell(wish.video);
  }

  /** Called after every join. Both start together; neither waits for the other or stops it. */
  async publishWanted(): Promise<void> {
    await Promise.all([
      this.microphone.get() ? this.setMicrophone(true) : undefined,
      this.camera.get() ? this.setCamera(true) : undefined,
    ]);
  }

  async setMicrophone(on: boolean): Promise<void> {
    this.microphone.set(on);
    try {
      await this.#room.localParticipant.setMicrophoneEnabled(on);
    } catch (error) {
      this.#failed(error, 'audio');
    }
  }

  async setCamera(on: boolean): Promise<void> {
    this.camera.set(on);
    try {
      await this.#room.localParticipant.setCameraEnabled(on);
    } catch (error) {
      this.#failed(error, 'video');
    }
  }

  async toggleMicrophone(): Promise<void> {
    await this.setMicrophone(!this.microphone.get());
    saveSettings({ audio: this.microphone.get() });
  }

  async toggleCamera(): Promise<void> {
    await this.setCamera(!this.camera.get());
    saveSettings({ video: this.camera.get() });
  }

  async toggleScreen(): Promise<void> {
    const on = !this.#room.localParticipant.isScreenShareEnabled;
    try {
      await this.#room.localParticipant.setScreenShareEnabled(on, { audio: true });
    } catch (error) {
      // Closing the browser's picker is a decision, not a failure.
      if (error instanceof Error && error.name === 'NotAllowedError') return;
      this.#notices.show('This browser could not share the screen.', 'warn');
    }
  }

  async switchDevice(kind: MediaDeviceKind, deviceId: string): Promise<void> {
    const key = ({ audioinput: 'microphone', videoinput: 'camera', audiooutput: 'speaker' } as const)[kind];
    try {
      await this.#room.switchActiveDevice(kind, deviceId);
      saveSettings({ [key]: deviceId });
    } catch {
      this.#notices.show(`That ${key} could not be used.`, 'warn');
    }
  }

  #failed(error: unknown, kind: 'audio' | 'video'): void {
    // A lost connection is the banner's business; the wish stays for the next join.
    if (!(error instanceof DOMException) && this.#room.state !== 'connected') return;
    (kind === 'audio' ? this.microphone : this.camera).set(false);
    const text = deviceProblem(error, kind).replace(' You can join without it.', '').replace('; you can join without it', '');
    this.#notices.show(text, 'warn');
  }
}
