import { describe, expect, test } from 'vitest';
import { connectionPath, parseRoute, roomPath, signalUrl } from './route';

describe('routes', () => {
  test('the root is the join page', () => expect(parseRoute('/')).toEqual({ page: 'join' }));

  test('the connection test has a path that is no room', () => {
    expect(parseRoute('/settings/connection')).toEqual({ page: 'connection' });
    expect(connectionPath('a b')).toBe('/settings/connection#room=a%20b');
    expect(parseRoute('/settings/other')).toHaveProperty('problem');
  });

  test('a room survives the trip through its own path', () => {
    for (const room of ['standup', 'Team 7', 'täst', 'a&b=c', 'a+b']) {
      expect(parseRoute(roomPath(room))).toEqual({ page: 'room', room });
    }
  });

  test('a path is decoded once only', () => {
    expect(parseRoute('/a%2525b')).toMatchObject({ page: 'join', problem: expect.stringContaining('%') });
  });

  test('broken escapes and deeper paths are explained', () => {
    expect(parseRoute('/%zz')).toHaveProperty('problem');
    expect(parseRoute('/a/b')).toHaveProperty('problem');
  });

  test('the signalling address keeps the scheme secure', () => {
    expect(signalUrl('https://example.org', 'a b')).toBe('wss://example.org/r/a%20b');
    expect(signalUrl('http://127.0.0.1:7880', 'x')).toBe('ws://127.0.0.1:7880/r/x');
  });
});
