import { describe, expect, test } from 'vitest';
import { parseParams, withoutToken } from './params';

describe('page parameters', () => {
  test('an ordinary address asks for nothing', () => {
    expect(parseParams('', '')).toEqual({
      autojoin: false,
      name: null,
      audio: null,
      video: null,
      single: true,
      adaptive: true,
      debug: false,
      token: null,
    });
  });

  test('a kiosk address is read', () => {
    const params = parseParams('?autojoin=1&name=Ada&audio=0&video=1&single=0&debug=1', '');
    expect(params).toMatchObject({
      autojoin: true,
      name: 'Ada',
      audio: false,
      video: true,
      single: false,
      debug: true,
    });
  });

  test('a token is taken from the fragment before the query', () => {
    expect(parseParams('?token=q', '#token=f').token).toBe('f');
    expect(parseParams('?token=q', '').token).toBe('q');
  });

  test('the token leaves the address, everything else stays', () => {
    expect(withoutToken(new URL('http://h/room?token=x&debug=1#token=y'))).toBe('/room?debug=1');
    expect(withoutToken(new URL('http://h/room#token=y'))).toBe('/room');
  });
});
