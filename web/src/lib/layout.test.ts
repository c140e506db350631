import { describe, expect, test } from 'vitest';
import { gridLayout, visibleOf } from './layout';

describe('grid layout', () => {
  test('one tile fills a wide space at sixteen to nine', () => {
    expect(gridLayout(1, 1280, 720, 8)).toEqual({ columns: 1, rows: 1, tileWidth: 1280, tileHeight: 720 });
  });

  test('two sit side by side on a desktop and stacked on a phone', () => {
    expect(gridLayout(2, 1280, 640, 8)).toMatchObject({ columns: 2, rows: 1 });
    expect(gridLayout(2, 344, 600, 8)).toMatchObject({ columns: 1, rows: 2 });
  });

  test('a phone uses two columns for six', () => {
    expect(gridLayout(6, 344, 600, 8)).toMatchObject({ columns: 2, rows: 3 });
  });

  test('tiles never overflow the space', () => {
    for (let count = 1; count <= 25; count += 1) {
      for (const [width, height] of [[1280, 660], [344, 600], [740, 280], [2560, 1300]] as const) {
        const { columns, rows, tileWidth, tileHeight } = gridLayout(count, width, height, 8);
        expect(columns * rows).toBeGreaterThanOrEqual(count);
        expect(columns * tileWidth + (columns - 1) * 8).toBeLessThanOrEqual(width);
        expect(rows * tileHeight + (rows - 1) * 8).toBeLessThanOrEqual(height);
      }
    }
  });

  test('no space and no tiles are survived', () => {
    expect(gridLayout(0, 100, 100, 8).columns).toBe(1);
    expect(gridLayout(3, 0, 0, 8)).toMatchObject({ columns: 1, tileWidth: 0 });
  });
});

describe('who is visible', () => {
  test('everybody, if they fit', () => expect(visibleOf([1, 2, 3], () => 0, 3)).toEqual([1, 2, 3]));

  test('a late speaker displaces a silent one and order is kept', () => {
    expect(visibleOf([1, 2, 3, 4], (n) => (n === 4 ? 10 : 0), 2)).toEqual([1, 4]);
  });
});
