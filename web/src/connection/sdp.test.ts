import { describe, expect, test } from 'vitest';
import { keepCandidates, portsOf, turnServers } from './sdp';

const ANSWER = [
  'v=0',
  'a=candidate:1 1 udp 1 192.0.2.1 7882 typ host',
  'a=candidate:2 1 TCP 1 192.0.2.1 7883 typ host tcptype passive',
  'a=mid:0',
  '',
].join('\r\n');

describe('the answer', () => {
  test('keeps the addresses of one protocol', () => {
    expect(keepCandidates(ANSWER, 'udp')).toBe(ANSWER.replace(/a=candidate:2.*\r\n/, ''));
    expect(keepCandidates(ANSWER, 'tcp')).toBe(ANSWER.replace(/a=candidate:1.*\r\n/, ''));
    expect(keepCandidates('v=0\r\n', 'udp')).toBeNull();
    expect(portsOf(ANSWER, 'tcp')).toEqual(['7883']);
  });

  test('names TURN servers with their credentials', () => {
    const tail = 'rel="ice-server"; username="1:PA_\\"x"; credential="a,b="; credential-type="password"';
    const links = `<turn:h:1?transport=udp>; ${tail}, <turn:h:1?transport=tcp>; ${tail}, <turns:h:2>; ${tail}, <stun:h>; rel="ice-server", <turn:h>; rel="next"`;
    const found = turnServers(links);
    expect(found.map((one) => one.kind)).toEqual(['relay-udp', 'relay-tcp', 'relay-tls']);
    expect(found[0]?.server).toEqual({ urls: 'turn:h:1?transport=udp', username: '1:PA_"x', credential: 'a,b=' });
    expect(turnServers(null)).toEqual([]);
  });
});
