import { describe, expect, test } from 'vitest';
import { actionFor, type KeyPress } from './keys';

const press = (key: string, more: Partial<KeyPress> = {}): KeyPress => ({
  key,
  ctrlKey: false,
  altKey: false,
  metaKey: false,
  repeat: false,
  typing: false,
  ...more,
});

describe('keyboard map', () => {
  test('every key has its action, in either case', () => {
    expect(['m', 'M', 'v', 's', 'c', 'p', '?', 'Escape'].map((key) => actionFor(press(key)))).toEqual([
      'mic',
      'mic',
      'camera',
      'screen',
      'chat',
      'people',
      'help',
      'close',
    ]);
  });

  test('other keys do nothing', () => {
    for (const key of ['x', 'Enter', 'Tab', 'F1', 'Esc2']) expect(actionFor(press(key))).toBeNull();
  });

  test('while typing only Escape counts', () => {
    expect(actionFor(press('m', { typing: true }))).toBeNull();
    expect(actionFor(press('Escape', { typing: true }))).toBe('close');
  });

  test('browser shortcuts and held keys are left alone', () => {
    expect(actionFor(press('c', { ctrlKey: true }))).toBeNull();
    expect(actionFor(press('s', { metaKey: true }))).toBeNull();
    expect(actionFor(press('v', { altKey: true }))).toBeNull();
    expect(actionFor(press('m', { repeat: true }))).toBeNull();
  });
});
