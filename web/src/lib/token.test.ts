import { describe, expect, test } from 'vitest';
import { isFresh, readToken } from './token';

function jwt(claims: object): string {
  const part = (value: object): string => {
    const binary = String.fromCharCode(...new TextEncoder().encode(JSON.stringify(value)));
    return btoa(binary).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
  };
  return `${part({ alg: 'HS256' })}.${part(claims)}.c2ln`;
}

describe('tokens', () => {
  test('name, identity and room are read', () => {
    const token = jwt({ sub: 'ada-1', name: 'Adá', exp: 100, video: { room: 'täst' } });
    expect(readToken(token)).toEqual({ name: 'Adá', identity: 'ada-1', room: 'täst', expiresS: 100 });
  });

  test('without a name the identity stands in', () => {
    expect(readToken(jwt({ sub: 'bob' }))).toMatchObject({ name: 'bob', room: '', expiresS: null });
  });

  test('what is no token is no token', () => {
    for (const text of ['', 'x', 'a.b.c', '..', 'a.e30']) {
      const claims = readToken(text);
      expect(claims === null || claims.identity === '').toBe(true);
    }
  });

  test('a token about to expire is not fresh', () => {
    const token = jwt({ sub: 'bob', exp: 100 });
    expect(isFresh(token, 60_000)).toBe(true);
    expect(isFresh(token, 71_000)).toBe(false);
  });
});
