// Cameras and microphones before a meeting: opening them, listing them, and saying what went wrong.

export type MediaKind = 'audio' | 'video';

const WORD: Record<MediaKind, string> = { audio: 'microphone', video: 'camera' };

/** What a person can do about a device that will not open. */
export function deviceProblem(error: unknown, kind: MediaKind): string {
  const name = error instanceof Error || error instanceof DOMException ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return `Your browser blocks the ${WORD[kind]}. Allow it in the address bar; you can join without it.`;
    case 'NotFoundError':
    case 'OverconstrainedError':
      return `No ${WORD[kind]} found. You can join without it.`;
    case 'NotReadableError':
    case 'AbortError':
      return `The ${WORD[kind]} is in use by another program. You can join without it.`;
    case 'InsecureContextError':
      return `Browsers give the ${WORD[kind]} to https:// pages only. You can join without it.`;
    default:
      return `The ${WORD[kind]} did not start. You can join without it.`;
  }
}

function constraints(kind: MediaKind, deviceId: string): MediaStreamConstraints {
  const device = deviceId === '' ? {} : { deviceId: { exact: deviceId } };
  if (kind === 'audio') return { audio: { echoCancellation: true, noiseSuppression: true, ...device } };
  return { video: { width: { ideal: 1280 }, height: { ideal: 720 }, ...device } };
}

/** Opens one device, the remembered one if it is still there. Rejects with the browser's error. */
export async function openDevice(kind: MediaKind, deviceId: string): Promise<MediaStreamTrack> {
  // The property is missing on insecure pages, whatever its type says.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) throw new DOMException('insecure page', 'InsecureContextError');
  const open = async (id: string): Promise<MediaStreamTrack> => {
    const stream = await devices.getUserMedia(constraints(kind, id));
    const track = stream.getTracks()[0];
    if (!track) throw new DOMException('no track', 'NotFoundError');
    return track;
  };
  try {
    return await open(deviceId);
  } catch (error) {
    const vanished = error instanceof DOMException && error.name === 'OverconstrainedError';
    if (deviceId === '' || !vanished) throw error;
    return open('');
  }
}

export interface DeviceList {
  microphones: MediaDeviceInfo[];
  cameras: MediaDeviceInfo[];
  speakers: MediaDeviceInfo[];
}

export const NO_DEVICES: DeviceList = { microphones: [], cameras: [], speakers: [] };

/** Devices with names; browsers hide both until one device was opened. */
export async function listDevices(): Promise<DeviceList> {
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) return NO_DEVICES;
  const all = (await devices.enumerateDevices().catch(() => [])).filter((d) => d.deviceId !== '');
  return {
    microphones: all.filter((d) => d.kind === 'audioinput'),
    cameras: all.filter((d) => d.kind === 'videoinput'),
    speakers: all.filter((d) => d.kind === 'audiooutput'),
  };
}
