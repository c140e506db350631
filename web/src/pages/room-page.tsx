// `/{room}`: pre-join, meeting and farewell, one after the other.

import type { JSX } from 'preact';
import { useEffect, useMemo, useState } from 'preact/hooks';
import { parseParams, withoutToken } from '../lib/params';
import { delayMs } from '../lib/reconnect';
import { keepToken, keptToken, loadSettings, saveSettings } from '../lib/settings';
import { readToken } from '../lib/token';
import type * as MeetingModule from '../meeting';
import type { MediaWish } from '../meeting/local-media';
import type { Session } from '../meeting/session';
import { EndPage } from './end-page';
import { JoiningPage } from './joining-page';
import { PreJoinPage } from './prejoin-page';

type Stage =
  | { kind: 'prejoin'; problem: string | null }
  | { kind: 'joining'; note: string | null }
  | { kind: 'meeting'; session: Session; module: typeof MeetingModule }
  | { kind: 'over'; why: string };

/** The SDK is most of the code; it loads while the person is still choosing a camera. */
const loadMeeting = (): Promise<typeof MeetingModule> => import('../meeting');

interface Entry {
  name: string;
  wish: MediaWish;
}

function firstEntry(params: ReturnType<typeof parseParams>, token: string | null): Entry {
  const { name, ...wish } = loadSettings();
  const claimed = token === null ? null : readToken(token)?.name;
  return {
    name: claimed || params.name || name,
    wish: { ...wish, audio: params.audio ?? wish.audio, video: params.video ?? wish.video },
  };
}

export function RoomPage({ roomName }: { roomName: string }): JSX.Element {
  const params = useMemo(() => parseParams(location.search, location.hash), []);
  const token = useMemo(() => params.token ?? keptToken(roomName), [params, roomName]);
  const [entry, setEntry] = useState<Entry>(() => firstEntry(params, token));
  const [stage, setStage] = useState<Stage>(
    params.autojoin ? { kind: 'joining', note: null } : { kind: 'prejoin', problem: null },
  );

  useEffect(() => {
    document.title = `${roomName} – Anteroom`;
    if (params.token === null) return;
    keepToken(roomName, params.token);
    history.replaceState(null, '', withoutToken(new URL(location.href)));
  }, [roomName, params]);

  /** Null if the person is in the room, else what went wrong and whether a retry may help. */
  const join = async (wanted: Entry): Promise<{ text: string; final: boolean } | null> => {
    setStage({ kind: 'joining', note: null });
    const module = await loadMeeting();
    const { single, adaptive } = params;
    const name = wanted.name.trim() || 'Guest';
    const session = new module.Session({ roomName, name, token, wish: wanted.wish, single, adaptive });
    module.exposeDiagnostics(session);
    try {
      await session.join();
    } catch (error) {
      return module.joinProblem(error);
    }
    module.noteJoined();
    session.over.watch(() => setStage({ kind: 'over', why: session.over.get() ?? '' }));
    setStage({ kind: 'meeting', session, module });
    return null;
  };

  const submit = async (wanted: Entry): Promise<void> => {
    setEntry(wanted);
    saveSettings({ ...wanted.wish, ...(token === null ? { name: wanted.name.trim() } : {}) });
    const problem = await join(wanted);
    if (problem) setStage({ kind: 'prejoin', problem: problem.text });
  };

  useEffect(() => {
    if (!params.autojoin) {
      void loadMeeting();
      return;
    }
    // Nobody may be in front of a kiosk: it keeps trying as long as that can help.
    let timer: ReturnType<typeof setTimeout> | undefined;
    const attempt = async (count: number): Promise<void> => {
      const problem = await join(entry);
      if (!problem) return;
      if (problem.final) return setStage({ kind: 'prejoin', problem: problem.text });
      setStage({ kind: 'joining', note: problem.text });
      timer = setTimeout(() => void attempt(count + 1), delayMs(count, Math.random()));
    };
    void attempt(1);
    return () => clearTimeout(timer);
    // Once, with what the address asked for.
  }, []);

  switch (stage.kind) {
    case 'prejoin':
      return (
        <PreJoinPage
          roomName={roomName}
          token={token}
          name={entry.name}
          wish={entry.wish}
          problem={stage.problem}
          onJoin={(name, wish) => void submit({ name, wish })}
        />
      );
    case 'joining':
      return <JoiningPage roomName={roomName} note={stage.note} />;
    case 'meeting':
      return <stage.module.Meeting session={stage.session} debug={params.debug} />;
    case 'over':
      return <EndPage why={stage.why} onRejoin={() => setStage({ kind: 'prejoin', problem: null })} />;
  }
}
