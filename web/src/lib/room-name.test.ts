import { describe, expect, test } from 'vitest';
import { checkRoomName, suggestRoomName } from './room-name';

function problem(input: string): string | null {
  const result = checkRoomName(input);
  return result.ok ? null : result.problem;
}

describe('room names', () => {
  test('ordinary names pass unchanged', () => {
    for (const name of ['standup', 'Team 7', 'täst', '日本語', 'a.b', '...', 'rtc2', 'x'.repeat(128)]) {
      expect(checkRoomName(name)).toEqual({ ok: true, name });
    }
  });

  test('a decomposed name becomes its composed form', () => {
    expect(checkRoomName('ta\u0308st')).toEqual({ ok: true, name: 't\u00e4st' });
  });

  test('the empty name is refused', () => expect(problem('')).toMatch(/name/));

  test('the limit counts bytes, not characters', () => {
    expect(problem('x'.repeat(129))).toMatch(/129 bytes/);
    expect(problem('ä'.repeat(65))).toMatch(/130 bytes/);
    expect(problem('ä'.repeat(64))).toBeNull();
  });

  test('separators and escapes are refused and named', () => {
    for (const c of ['/', '\\', '?', '#', '%']) expect(problem(`a${c}b`)).toContain(c);
  });

  test('dots, outer spaces and invisible characters are refused', () => {
    for (const name of ['.', '..', ' a', 'a ', '\u00a0a', 'a\u0000', 'a\u200bb', 'a\u202eb', 'a\ufe0f']) {
      expect(problem(name)).not.toBeNull();
    }
  });

  test('reserved words are refused in any case', () => {
    for (const name of ['rtc', 'twirp', 'whip', 'whep', 'agent', 'api', 'r', 'settings', 'assets', 'RTC']) {
      expect(problem(name)).toMatch(/reserved/);
    }
  });

  test('every suggestion is a valid name', () => {
    for (const value of [0, 0.5, 0.999999]) expect(problem(suggestRoomName(() => value))).toBeNull();
  });
});
