// The camera and microphone of the pre-join page. They open when wanted, close when not, and always close
// when the page is left: the meeting opens its own.

import { useEffect, useState } from 'preact/hooks';
import { type DeviceList, deviceProblem, listDevices, type MediaKind, NO_DEVICES, openDevice } from './devices';

export interface PreviewDevice {
  track: MediaStreamTrack | null;
  problem: string | null;
}

const CLOSED: PreviewDevice = { track: null, problem: null };

export function usePreviewDevice(kind: MediaKind, wanted: boolean, deviceId: string): PreviewDevice {
  const [state, setState] = useState<PreviewDevice>(CLOSED);
  useEffect(() => {
    if (!wanted) {
      setState(CLOSED);
      return;
    }
    let opened: MediaStreamTrack | null = null;
    let left = false;
    openDevice(kind, deviceId).then(
      (track) => {
        if (left) return track.stop();
        opened = track;
        setState({ track, problem: null });
      },
      (error: unknown) => {
        if (!left) setState({ track: null, problem: deviceProblem(error, kind) });
      },
    );
    return () => {
      left = true;
      opened?.stop();
    };
  }, [kind, wanted, deviceId]);
  return state;
}

/** The devices of this machine; `opened` changes when names may have become readable. */
export function useDeviceList(opened: unknown): DeviceList {
  const [list, setList] = useState<DeviceList>(NO_DEVICES);
  useEffect(() => {
    let left = false;
    const refresh = (): void => {
      void listDevices().then((found) => {
        if (!left) setList(found);
      });
    };
    refresh();
    const devices = navigator.mediaDevices as MediaDevices | undefined;
    devices?.addEventListener('devicechange', refresh);
    return () => {
      left = true;
      devices?.removeEventListener('devicechange', refresh);
    };
  }, [opened]);
  return list;
}
