// Before a meeting: who you are, how you look and sound.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { DeviceSelect } from '../lib/device-select';
import { Mark } from '../lib/icons';
import { connectionPath } from '../lib/route';
import { NAME_CHARACTERS_MAX } from '../lib/settings';
import { readToken } from '../lib/token';
import { useDeviceList, usePreviewDevice } from '../lib/use-preview';
import type { MediaWish } from '../meeting/local-media';
import { Preview } from './preview';

interface Props {
  roomName: string;
  token: string | null;
  name: string;
  wish: MediaWish;
  problem: string | null;
  onJoin: (name: string, wish: MediaWish) => void;
}

function tokenWarning(token: string | null, roomName: string): string | null {
  if (token === null) return null;
  const claims = readToken(token);
  if (!claims) return 'The token in the address is damaged.';
  if (claims.room !== '' && claims.room !== roomName) return `The token is for the room “${claims.room}”.`;
  return null;
}

export function PreJoinPage({ roomName, token, name: firstName, wish: firstWish, problem, onJoin }: Props): JSX.Element {
  const [name, setName] = useState(firstName);
  const [wish, setWish] = useState(firstWish);
  const change = (part: Partial<MediaWish>): void => setWish((now) => ({ ...now, ...part }));
  const microphone = usePreviewDevice('audio', wish.audio, wish.microphone);
  const camera = usePreviewDevice('video', wish.video, wish.camera);
  const devices = useDeviceList(`${microphone.track?.id}${camera.track?.id}`);
  const hints = [microphone.problem, camera.problem].filter((hint) => hint !== null);
  const alert = problem ?? tokenWarning(token, roomName);

  const join = (event: Event): void => {
    event.preventDefault();
    // A device that does not open here would not open there: join without it.
    const audio = wish.audio && microphone.problem === null;
    const video = wish.video && camera.problem === null;
    onJoin(name, { ...wish, audio, video });
  };

  return (
    <main class="entry">
      <form class="card wide" onSubmit={join}>
        <Preview
          audio={wish.audio}
          video={wish.video}
          microphone={microphone}
          camera={camera}
          onAudio={(audio) => change({ audio })}
          onVideo={(video) => change({ video })}
        />
        <div class="prejoin-form">
          <div class="brand">
            <Mark />
            <span>Anteroom</span>
          </div>
          <h1>
            <span class="muted">Ready to join</span> {roomName}
          </h1>
          <label class="field">
            <span>Your name</span>
            <input
              data-testid="name-field"
              value={name}
              readOnly={token !== null}
              maxLength={NAME_CHARACTERS_MAX}
              placeholder="Guest"
              autocomplete="name"
              enterkeyhint="go"
              autoFocus
              onInput={(event) => setName(event.currentTarget.value)}
            />
          </label>
          <DeviceSelect
            label="Microphone"
            devices={devices.microphones}
            value={wish.microphone}
            onChange={(id) => change({ microphone: id })}
          />
          <DeviceSelect
            label="Camera"
            devices={devices.cameras}
            value={wish.camera}
            onChange={(id) => change({ camera: id })}
          />
          {hints.length > 0 && (
            <div class="hint" role="status" data-testid="device-hint">
              {hints.map((hint) => (
                <p key={hint}>{hint}</p>
              ))}
            </div>
          )}
          <p class="problem" role="alert" data-testid="join-problem">
            {alert}
          </p>
          <button class="primary" type="submit" data-testid="join-button">
            Join
          </button>
          <a class="quiet" href={connectionPath(roomName)}>
            Test my connection
          </a>
        </div>
      </form>
    </main>
  );
}
