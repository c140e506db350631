import { describe, expect, test } from 'vitest';
import { ATTEMPTS_MAX, bannerText, delayMs, dueAtMs, type Link, type LinkEvent, nextLink } from './reconnect';

const MIDDLE = 0.5;
const ok: Link = { kind: 'ok' };

function run(start: Link, ...steps: [LinkEvent, number][]): Link {
  return steps.reduce((link, [event, now]) => nextLink(link, event, MIDDLE, now), start);
}

describe('reconnecting', () => {
  test('a resume by the SDK shows good news for three seconds', () => {
    const restored = run(ok, [{ type: 'resuming' }, 0], [{ type: 'resumed' }, 1000]);
    expect(restored).toEqual({ kind: 'restored', attempt: 0, untilMs: 4000 });
    expect(run(restored, [{ type: 'tick' }, 3999])).toEqual(restored);
    expect(run(restored, [{ type: 'tick' }, 4000])).toEqual(ok);
  });

  test('a resume that was never announced is no news', () => {
    expect(run(ok, [{ type: 'resumed' }, 0])).toEqual(ok);
  });

  test('after a crash a fresh join follows, with backoff', () => {
    const first = run(ok, [{ type: 'resuming' }, 0], [{ type: 'lost', final: null }, 100]);
    expect(first).toEqual({ kind: 'waiting', attempt: 1, atMs: 600 });
    const second = run(first, [{ type: 'joining' }, 600], [{ type: 'join-failed', final: null }, 700]);
    expect(second).toEqual({ kind: 'waiting', attempt: 2, atMs: 1700 });
    const back = run(second, [{ type: 'joining' }, 1700], [{ type: 'joined' }, 2000]);
    expect(back).toEqual({ kind: 'restored', attempt: 2, untilMs: 5000 });
    const dropped = run(back, [{ type: 'lost', final: null }, 2100]);
    expect(dropped).toEqual({ kind: 'waiting', attempt: 3, atMs: 4100 });
  });

  test('a disconnect during a join is not counted twice', () => {
    const joining: Link = { kind: 'rejoining', attempt: 3 };
    expect(run(joining, [{ type: 'lost', final: null }, 0])).toEqual(joining);
  });

  test('being removed is final', () => {
    const gone = run(ok, [{ type: 'lost', final: 'You were removed.' }, 0]);
    expect(gone).toEqual({ kind: 'gone', why: 'You were removed.' });
    expect(dueAtMs(gone)).toBeNull();
  });

  test('the first join leaves no banner', () => expect(run(ok, [{ type: 'joined' }, 0])).toEqual(ok));

  test('attempts end, and a person starts them again', () => {
    let link = run(ok, [{ type: 'lost', final: null }, 0]);
    for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt += 1) {
      expect(link).toMatchObject({ kind: 'waiting', attempt });
      link = run(link, [{ type: 'joining' }, 0], [{ type: 'join-failed', final: null }, 0]);
    }
    expect(link.kind).toBe('gone');
    expect(run(link, [{ type: 'retry' }, 50])).toEqual({ kind: 'waiting', attempt: 1, atMs: 50 });
  });

  test('delays double up to a limit and are spread', () => {
    expect([1, 2, 3, 4, 5, 6, 32].map((attempt) => delayMs(attempt, MIDDLE))).toEqual([
      500, 1000, 2000, 4000, 8000, 8000, 8000,
    ]);
    expect(delayMs(6, 0)).toBe(5600);
    expect(delayMs(6, 0.999999)).toBe(10_400);
  });
});

describe('the banner', () => {
  test('counts down, offers to hurry, and is silent when all is well', () => {
    expect(bannerText(ok, 0)).toBeNull();
    expect(bannerText({ kind: 'waiting', attempt: 4, atMs: 3500 }, 1000)).toEqual({
      text: 'Connection lost. Joining again in 3\u00a0s…',
      tone: 'warn',
      button: 'Try now',
    });
    expect(bannerText({ kind: 'gone', why: 'x' }, 0)).toMatchObject({ tone: 'bad', button: 'Join again' });
  });
});
