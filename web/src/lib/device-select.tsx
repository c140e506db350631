// A list of devices of one kind. Hidden if there is nothing to choose.

import type { JSX } from 'preact';

interface Props {
  label: string;
  devices: MediaDeviceInfo[];
  value: string;
  onChange: (deviceId: string) => void;
}

export function DeviceSelect({ label, devices, value, onChange }: Props): JSX.Element | null {
  if (devices.length === 0) return null;
  const known = devices.some((device) => device.deviceId === value);
  return (
    <label class="field">
      <span>{label}</span>
      <select
        value={known ? value : (devices[0]?.deviceId ?? '')}
        onChange={(event) => onChange(event.currentTarget.value)}
      >
        {devices.map((device, index) => (
          <option key={device.deviceId} value={device.deviceId}>
            {device.label || `${label} ${index + 1}`}
          </option>
        ))}
      </select>
    </label>
  );
}
