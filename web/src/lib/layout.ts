// How many columns of tiles fill a space best. Pure geometry; the grid component applies it.

export interface GridLayout {
  columns: number;
  rows: number;
  tileWidth: number;
  tileHeight: number;
}

/** Tiles drawn at once; the loudest of a larger room are kept among them. */
export const TILES_MAX = 25;

const ASPECT = 16 / 9;
/** Tiles may grow taller than the video, up to these shapes: the video is cropped rather than boxed. */
const ASPECT_TALLEST_LANDSCAPE = 4 / 3;
const ASPECT_TALLEST_PORTRAIT = 1;
const TILE_WIDTH_MIN = 120;

/** The layout of `count` equal tiles with the largest area; sizes in CSS pixels, `gap` between tiles. */
export function gridLayout(count: number, width: number, height: number, gap: number): GridLayout {
  let best: GridLayout = { columns: 1, rows: Math.max(1, count), tileWidth: 0, tileHeight: 0 };
  let bestArea = Number.NEGATIVE_INFINITY;
  const tallest = height > width ? ASPECT_TALLEST_PORTRAIT : ASPECT_TALLEST_LANDSCAPE;
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.max(1, Math.ceil(count / columns));
    const cellWidth = (width - gap * (columns - 1)) / columns;
    const cellHeight = (height - gap * (rows - 1)) / rows;
    if (cellWidth <= 0 || cellHeight <= 0) continue;
    const tileWidth = Math.min(cellWidth, cellHeight * ASPECT);
    const tileHeight = Math.min(cellHeight, tileWidth / tallest);
    const area = tileWidth * tileHeight - (tileWidth < TILE_WIDTH_MIN ? 1e9 : 0);
    if (area > bestArea) {
      bestArea = area;
      best = { columns, rows, tileWidth: Math.floor(tileWidth), tileHeight: Math.floor(tileHeight) };
    }
  }
  return best;
}

/** Keeps order, but makes room for those who spoke last if not all fit. */
export function visibleOf<T>(all: T[], spokeAt: (item: T) => number, max: number = TILES_MAX): T[] {
  if (all.length <= max) return all;
  const ranked = all
    .map((item, index) => ({ item, index, spoke: spokeAt(item) }))
    .sort((a, b) => b.spoke - a.spoke || a.index - b.index)
    .slice(0, max)
    .sort((a, b) => a.index - b.index);
  return ranked.map((entry) => entry.item);
}
