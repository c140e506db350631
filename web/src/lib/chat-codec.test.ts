import { describe, expect, test } from 'vitest';
import { CHAT_TEXT_MAX, decodeChat, encodeChat, splitLinks } from './chat-codec';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('chat codec', () => {
  test('a message survives the trip', () => {
    const packet = encodeChat(' hi 👋 ', 'Ada', 5);
    expect(packet && decodeChat(packet, 9)).toEqual({ type: 'chat', text: 'hi 👋', name: 'Ada', ts: 5 });
  });

  test('the wire form is plain JSON', () => {
    const packet = encodeChat('x', 'Ada', 5);
    expect(JSON.parse(new TextDecoder().decode(packet ?? undefined))).toEqual({
      type: 'chat',
      text: 'x',
      name: 'Ada',
      ts: 5,
    });
  });

  test('blank text is not sent, long text is cut', () => {
    expect(encodeChat(' \n ', 'Ada', 5)).toBeNull();
    const packet = encodeChat('x'.repeat(CHAT_TEXT_MAX + 9), 'Ada', 5);
    expect(packet && decodeChat(packet, 0)?.text).toHaveLength(CHAT_TEXT_MAX);
  });

  test('garbage is ignored', () => {
    for (const text of ['', '{', 'null', '[]', '{"type":"x","text":"y"}', '{"type":"chat","text":1}']) {
      expect(decodeChat(bytes(text), 9)).toBeNull();
    }
    expect(decodeChat(new Uint8Array([0xff, 0xfe]), 9)).toBeNull();
  });

  test('a missing name or absurd time is repaired', () => {
    expect(decodeChat(bytes('{"type":"chat","text":"y","ts":1e99}'), 9)).toMatchObject({ name: '', ts: 9 });
  });

  test('only http links become links', () => {
    expect(splitLinks('see https://a.example/x. or javascript:alert(1)')).toEqual([
      { kind: 'text', text: 'see ' },
      { kind: 'link', text: 'https://a.example/x' },
      { kind: 'text', text: '. or javascript:alert(1)' },
    ]);
  });
});
