// Short messages that do not stop anybody: a camera that did not start, a link that was copied.

import { Cell } from '../lib/cell';

export interface Notice {
  id: number;
  text: string;
  tone: 'info' | 'warn';
}

/** More would cover the meeting; the oldest goes first. */
const NOTICES_MAX = 3;
const SHOWN_MS = { info: 3000, warn: 9000 };

export class Notices {
  readonly list = new Cell<Notice[]>([]);
  #nextId = 1;

  show(text: string, tone: Notice['tone'] = 'info'): void {
    const id = this.#nextId;
    this.#nextId += 1;
    const others = this.list.get().filter((notice) => notice.text !== text);
    this.list.set([...others, { id, text, tone }].slice(-NOTICES_MAX));
    setTimeout(() => this.dismiss(id), SHOWN_MS[tone]);
  }

  dismiss(id: number): void {
    this.list.set(this.list.get().filter((notice) => notice.id !== id));
  }
}
