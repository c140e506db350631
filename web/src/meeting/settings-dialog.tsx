// Changing devices during a meeting.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { DeviceSelect } from '../lib/device-select';
import { loadSettings } from '../lib/settings';
import { useDeviceList } from '../lib/use-preview';
import { Modal } from './modal';
import type { Session } from './session';

/** Not every browser can choose where sound goes. */
const CAN_CHOOSE_SPEAKER = 'setSinkId' in HTMLMediaElement.prototype;

export function SettingsDialog({ session, onClose }: { session: Session; onClose: () => void }): JSX.Element {
  const devices = useDeviceList(session);
  const [chosen, setChosen] = useState(() => ({
    audioinput: session.room.getActiveDevice('audioinput') ?? loadSettings().microphone,
    videoinput: session.room.getActiveDevice('videoinput') ?? loadSettings().camera,
    audiooutput: session.room.getActiveDevice('audiooutput') ?? loadSettings().speaker,
  }));
  const choose = (kind: MediaDeviceKind, deviceId: string): void => {
    setChosen((now) => ({ ...now, [kind]: deviceId }));
    void session.media.switchDevice(kind, deviceId);
  };
  const none = devices.microphones.length + devices.cameras.length + devices.speakers.length === 0;
  return (
    <Modal title="Devices" testId="settings-dialog" onClose={onClose}>
      <div class="dialog-fields">
        <DeviceSelect label="Microphone" devices={devices.microphones} value={chosen.audioinput} onChange={(id) => choose('audioinput', id)} />
        <DeviceSelect label="Camera" devices={devices.cameras} value={chosen.videoinput} onChange={(id) => choose('videoinput', id)} />
        {CAN_CHOOSE_SPEAKER && (
          <DeviceSelect label="Speaker" devices={devices.speakers} value={chosen.audiooutput} onChange={(id) => choose('audiooutput', id)} />
        )}
        {none && <p class="muted">No devices found, or the browser may not name them.</p>}
      </div>
    </Modal>
  );
}
