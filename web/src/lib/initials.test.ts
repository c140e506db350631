import { expect, test } from 'vitest';
import { hueOf, initials } from './initials';

test('initials are those of the first and last word', () => {
  expect(['Ada', 'ada lovelace', 'A B C', '👋 wave', '', '  '].map(initials)).toEqual(['A', 'AL', 'AC', '👋W', '', '']);
});

test('a hue is a stable angle', () => {
  expect(hueOf('ada')).toBe(hueOf('ada'));
  for (const id of ['', 'x', 'ada', '日本']) expect(hueOf(id)).toBeLessThan(360);
});
