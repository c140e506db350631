import { defineConfig } from 'vitest/config';

// A gateway started by `anteroom up` listens here; `npm run dev` borrows its signalling and tokens.
const GATEWAY = 'http://127.0.0.1:7880';

export default defineConfig({
  // Nothing may be inlined: the server's content security policy allows files of its own origin only.
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
    // The SDK and Preact ask that their notices travel with copies.
    license: { fileName: 'assets/licenses.md' },
  },
  server: { host: '127.0.0.1', proxy: { '/r/': { target: GATEWAY, ws: true } } },
  test: { include: ['src/**/*.test.ts'] },
});
