// What the page's address may ask for. Kiosks and tests use these; people normally do not.

export interface PageParams {
  /** Join without waiting for the button. */
  autojoin: boolean;
  name: string | null;
  /** Start with the microphone on or off; null: as last time. */
  audio: boolean | null;
  video: boolean | null;
  /** False makes the client speak the older, two-connection form of the protocol. */
  single: boolean;
  /** False receives every video at full size, also while the tab is hidden. */
  adaptive: boolean;
  debug: boolean;
  /** A token from the application, from `#token=` or `?token=`. */
  token: string | null;
}

function flag(value: string | null): boolean | null {
  if (value === null) return null;
  return value === '1' || value === 'true' || value === '';
}

export function parseParams(search: string, hash: string): PageParams {
  const query = new URLSearchParams(search);
  const fragment = new URLSearchParams(hash.replace(/^#/, ''));
  return {
    autojoin: flag(query.get('autojoin')) ?? false,
    name: query.get('name'),
    audio: flag(query.get('audio')),
    video: flag(query.get('video')),
    single: flag(query.get('single')) ?? true,
    adaptive: flag(query.get('adaptive')) ?? true,
    debug: flag(query.get('debug')) ?? false,
    token: fragment.get('token') || query.get('token') || null,
  };
}

/** The same address without its token, so that it is neither copied nor kept in the history. */
export function withoutToken(url: URL): string {
  const query = new URLSearchParams(url.search);
  const fragment = new URLSearchParams(url.hash.replace(/^#/, ''));
  query.delete('token');
  fragment.delete('token');
  const search = query.size > 0 ? `?${query}` : '';
  const hash = fragment.size > 0 ? `#${fragment}` : '';
  return `${url.pathname}${search}${hash}`;
}
