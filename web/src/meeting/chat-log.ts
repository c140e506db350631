// The chat of one session: what was said, and saying something.

import { type RemoteParticipant, type Room, RoomEvent } from 'livekit-client';
import { Cell } from '../lib/cell';
import { CHAT_TOPIC, decodeChat, encodeChat } from '../lib/chat-codec';

export interface ChatMessage {
  id: number;
  identity: string;
  name: string;
  text: string;
  ts: number;
  mine: boolean;
}

/** A chat is no archive; the oldest messages go first. */
const MESSAGES_MAX = 500;

export class ChatLog {
  readonly messages = new Cell<ChatMessage[]>([]);
  readonly unread = new Cell(0);
  readonly #room: Room;
  #open = false;
  #nextId = 1;

  constructor(room: Room) {
    this.#room = room;
    room.on(RoomEvent.DataReceived, this.#receive);
  }

  /** While the panel is open nothing counts as unread. */
  setOpen(open: boolean): void {
    this.#open = open;
    if (open) this.unread.set(0);
  }

  /** Rejects if the message could not be sent; it is then not in the log either. */
  async send(text: string): Promise<void> {
    const me = this.#room.localParticipant;
    const name = me.name || me.identity;
    const now = Date.now();
    const packet = encodeChat(text, name, now);
    if (packet === null) return;
    await me.publishData(packet, { reliable: true, topic: CHAT_TOPIC });
    this.#add({ identity: me.identity, name, text: text.trim(), ts: now, mine: true });
  }

  readonly #receive = (
    payload: Uint8Array,
    participant?: RemoteParticipant,
    _kind?: unknown,
    topic?: string,
  ): void => {
    if (topic !== CHAT_TOPIC) return;
    const packet = decodeChat(payload, Date.now());
    if (packet === null) return;
    // The name that the server vouches for wins over the one in the message.
    const name = participant?.name || participant?.identity || packet.name || 'Somebody';
    this.#add({ identity: participant?.identity ?? '', name, text: packet.text, ts: packet.ts, mine: false });
    if (!this.#open) this.unread.set(this.unread.get() + 1);
  };

  #add(message: Omit<ChatMessage, 'id'>): void {
    const id = this.#nextId;
    this.#nextId += 1;
    this.messages.set([...this.messages.get(), { id, ...message }].slice(-MESSAGES_MAX));
  }
}
