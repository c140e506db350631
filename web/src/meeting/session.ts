// One person's stay in one room: joining, coming back after accidents, leaving. Owns the SDK's `Room`;
// draws nothing.

import { type DisconnectReason, Room, RoomEvent, VideoPresets } from 'livekit-client';
import { Cell } from '../lib/cell';
import { dueAtMs, type Link, type LinkEvent, nextLink } from '../lib/reconnect';
import { signalUrl } from '../lib/route';
import { fetchTicket, isFresh, TokenError, whyRefused } from '../lib/token';
import { ChatLog } from './chat-log';
import { LocalMedia, type MediaWish } from './local-media';
import { Notices } from './notices';
import { endingOf, joinProblem } from './reasons';

/**
 * One join from start to end. The SDK has limits of its own, but asks without pause and without end when
 * something on the way answers both of its paths with 404.
 */
const JOIN_TIMEOUT_MS = 30_000;

export interface SessionOptions {
  roomName: string;
  name: string;
  /** A token from the application; null: the server is asked for one. */
  token: string | null;
  wish: MediaWish;
  /** One peer connection (`/rtc/v1`), or two (`/rtc`). */
  single: boolean;
  adaptive: boolean;
}

function createRoom({ wish, single, adaptive }: SessionOptions): Room {
  return new Room({
    adaptiveStream: adaptive,
    dynacast: true,
    singlePeerConnection: single,
    audioCaptureDefaults: wish.microphone === '' ? {} : { deviceId: wish.microphone },
    videoCaptureDefaults: {
      resolution: VideoPresets.h720.resolution,
      ...(wish.camera === '' ? {} : { deviceId: wish.camera }),
    },
    ...(wish.speaker === '' ? {} : { audioOutput: { deviceId: wish.speaker } }),
  });
}

export class Session {
  readonly room: Room;
  readonly media: LocalMedia;
  readonly chat: ChatLog;
  readonly notices = new Notices();
  readonly link = new Cell<Link>({ kind: 'ok' });
  /** Why the stay is over; null while it is not. */
  readonly over = new Cell<string | null>(null);
  readonly options: SessionOptions;
  #ticket: string | null = null;
  #joined = false;
  #publishDue = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: SessionOptions) {
    this.options = options;
    this.room = createRoom(options);
    this.media = new LocalMedia(this.room, this.notices, options.wish);
    this.chat = new ChatLog(this.room);
    this.room
      .on(RoomEvent.SignalConnected, () => this.#publish())
      .on(RoomEvent.SignalReconnecting, () => this.#step({ type: 'resuming' }))
      .on(RoomEvent.Reconnecting, () => this.#step({ type: 'resuming' }))
      .on(RoomEvent.Reconnected, () => this.#step({ type: 'resumed' }))
      .on(RoomEvent.Disconnected, (reason) => this.#disconnected(reason));
    window.addEventListener('online', this.#online);
  }

  /** The first join. Rejects with the cause; `joinProblem` puts it into words. */
  async join(): Promise<void> {
    await this.#connect();
    this.#step({ type: 'joined' });
  }

  /** The banner's button. */
  retry(): void {
    this.#step({ type: 'retry' });
  }

  async leave(): Promise<void> {
    this.#end('You left the meeting.');
    await this.room.disconnect();
  }

  async #connect(): Promise<void> {
    const token = await this.#token();
    this.#publishDue = true;
    const timeout = setTimeout(() => void this.room.disconnect(), JOIN_TIMEOUT_MS);
    try {
      await this.room.connect(signalUrl(location.origin, this.options.roomName), token);
    } catch (error) {
      if (joinProblem(error).refused) this.#ticket = null;
      // The SDK keeps the server's words for 401 and 403 only.
      const why = joinProblem(error).final ? null : await whyRefused(this.options.roomName, token);
      throw why === null ? error : new TokenError(`The server refused to let you in: ${why}`, true);
    } finally {
      clearTimeout(timeout);
    }
    this.#joined = true;
    this.#publish();
  }

  /**
   * Once per join, as soon as the server answers: cameras start while the media connection is set up, and
   * neither waits for the other. Not after the SDK's own reconnects: it publishes again by itself.
   */
  #publish(): void {
    if (!this.#publishDue) return;
    this.#publishDue = false;
    void this.media.publishWanted();
  }

  /** The same token, and so the same identity, as long as it is good: others see one person come back. */
  async #token(): Promise<string> {
    if (this.options.token !== null) return this.options.token;
    if (this.#ticket !== null && isFresh(this.#ticket, Date.now())) return this.#ticket;
    const ticket = await fetchTicket(this.options.roomName, this.options.name);
    this.#ticket = ticket.token;
    return ticket.token;
  }

  async #rejoin(): Promise<void> {
    this.#step({ type: 'joining' });
    try {
      await this.#connect();
      this.#step({ type: 'joined' });
    } catch (error) {
      const problem = joinProblem(error);
      // A refused token that we fetched ourselves is replaced at the next attempt.
      const final = problem.final && (!problem.refused || this.options.token !== null);
      this.#step({ type: 'join-failed', final: final ? problem.text : null });
    }
  }

  #disconnected(reason: DisconnectReason | undefined): void {
    if (!this.#joined || this.over.get() !== null) return;
    const ending = endingOf(reason);
    if (ending.kind === 'over') return this.#end(ending.why);
    // Coming back with the old identity would throw the other tab out in turn.
    if (ending.kind === 'ask') this.#ticket = null;
    this.#step({ type: 'lost', final: ending.kind === 'ask' ? ending.why : null });
  }

  readonly #online = (): void => {
    if (this.link.get().kind === 'waiting') this.retry();
  };

  #step(event: LinkEvent): void {
    if (this.over.get() !== null) return;
    this.link.set(nextLink(this.link.get(), event, Math.random(), Date.now()));
    clearTimeout(this.#timer);
    const dueAt = dueAtMs(this.link.get());
    if (dueAt !== null) this.#timer = setTimeout(() => this.#due(), Math.max(0, dueAt - Date.now()));
  }

  #due(): void {
    if (this.link.get().kind === 'waiting') void this.#rejoin();
    else this.#step({ type: 'tick' });
  }

  #end(why: string): void {
    clearTimeout(this.#timer);
    window.removeEventListener('online', this.#online);
    this.over.set(why);
  }
}
