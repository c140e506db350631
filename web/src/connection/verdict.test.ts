import { describe, expect, test } from 'vitest';
import {
  failed,
  microphoneResult,
  notOffered,
  ok,
  overall,
  reportText,
  type Result,
  serverResult,
  skipped,
  STEPS,
  websocketResult,
  wayResult,
} from './verdict';

const healthy: Result[] = STEPS.map(({ id }) => ok(id, 'fine'));
const without = (...broken: Result[]): Result[] =>
  healthy.map((result) => broken.find((one) => one.id === result.id) ?? result);

describe('steps', () => {
  test('a shard that is down is named', () => {
    expect(serverResult(200, 's1')).toMatchObject({ status: 'ok', text: 'It answers (shard s1).' });
    expect(serverResult(503, 's2').tell).toContain('503 for the room’s shard (shard s2)');
    expect(serverResult(null, null).status).toBe('failed');
  });

  test('a blocked way names its ports and settings', () => {
    expect(wayResult('udp', null, { ports: ['7882', '7883'] }).tell).toContain('UDP ports 7882, 7883');
    expect(wayResult('tcp', null, { ports: ['7882'] }).tell).toContain('node.tcp_port');
    expect(wayResult('relay-tls', null, { relay: 'turns:h (701)' }).tell).toContain('turns:h (701)');
    expect(wayResult('udp', null, { refused: '503 no node' }).tell).toContain('503 no node');
    expect(wayResult('udp', 12, null).text).toContain('12 ms');
  });

  test('a silent microphone is a fault', () => {
    expect(microphoneResult(0.5).status).toBe('ok');
    expect(microphoneResult(0).status).toBe('failed');
  });

  test('a WebSocket that does not open is a matter of proxies', () => {
    expect(websocketResult(false).tell).toContain('Upgrade');
    expect(websocketResult(true).status).toBe('ok');
  });
});

describe('the sum', () => {
  test('tells the first broken link', () => {
    expect(overall(healthy)).toMatchObject({ tone: 'good', title: 'Everything works' });
    expect(overall(without(failed('server', 'x'))).title).toBe('The server cannot be used');
    expect(overall(without(failed('token', 'x'))).title).toBe('The server does not let you in');
    expect(overall(without(failed('websocket', 'x'))).title).toBe('Signalling is blocked');
    expect(overall(without(failed('microphone', 'x'))).title).toBe('Your microphone cannot be used');
  });

  test('one way of media is enough', () => {
    expect(overall(without(failed('udp', 'x'))).title).toBe('It works, by a detour');
    expect(overall(without(failed('relay-tls', 'x'))).title).toBe('You can join');
    const offered = [failed('udp', 'x'), failed('tcp', 'x')];
    const none = without(...offered, notOffered('relay-udp'), notOffered('relay-tcp'), notOffered('relay-tls'));
    expect(overall(none)).toMatchObject({ tone: 'bad', title: 'Sound and pictures do not get through' });
  });

  test('without a token it says what was not tested', () => {
    const some = [ok('server', 'x'), skipped('token', 'x'), ok('microphone', 'x')];
    expect(overall(some).title).toBe('What could be tested works');
  });

  test('is a text for the administrator', () => {
    const about = { origin: 'https://h', at: 'now', browser: 'b' };
    const text = reportText(without(wayResult('udp', null, { ports: ['7882'] })), about);
    expect(text).toContain('Connection test of https://h, now');
    expect(text).toContain('FAILED  Media by UDP: It does not get through. UDP port 7882');
  });
});
