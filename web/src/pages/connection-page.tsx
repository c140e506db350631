// `/settings/connection`: what works between this browser and a call, and whom to tell what.

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { runTest } from '../connection/run';
import { overall, reportText, type Result, STEPS, type StepId } from '../connection/verdict';
import { Mark } from '../lib/icons';
import { roomPath } from '../lib/route';
import { loadSettings } from '../lib/settings';

const WORDS: Record<Result['status'] | 'running', string> = {
  ok: 'Works',
  failed: 'Does not work',
  skipped: 'Not tested',
  running: 'Testing…',
};

function StepLine({ title, result }: { title: string; result: Result | null }): JSX.Element {
  const status = result?.status ?? 'running';
  return (
    <li class={`step ${status}`} data-testid={result ? `step-${result.id}` : undefined}>
      <span class="step-title">{title}</span>
      <span class="step-status">{WORDS[status]}</span>
      {result && <p class="muted">{result.text}</p>}
    </li>
  );
}

function Report({ results }: { results: Result[] }): JSX.Element {
  const [copied, setCopied] = useState(false);
  const about = { origin: location.origin, at: new Date().toISOString(), browser: navigator.userAgent };
  const text = reportText(results, about);
  const copy = (): void => {
    void navigator.clipboard?.writeText(text).then(() => setCopied(true));
  };
  return (
    <details class="report">
      <summary>Report for the administrator</summary>
      <pre tabIndex={0} data-testid="report">
        {text}
      </pre>
      <button class="quiet" type="button" onClick={copy}>
        {copied ? 'Copied' : 'Copy'}
      </button>
    </details>
  );
}

export function ConnectionPage(): JSX.Element {
  const meeting = new URLSearchParams(location.hash.replace(/^#/, '')).get('room');
  const [results, setResults] = useState<Result[]>([]);
  const [running, setRunning] = useState<StepId | null>(null);
  const [over, setOver] = useState(false);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = 'Connection test – Anteroom';
  }, []);
  // The page changed under the focus; screen readers hear the outcome.
  useEffect(() => {
    if (over) heading.current?.focus();
  }, [over]);

  const start = async (): Promise<void> => {
    setResults([]);
    setOver(false);
    const { microphone, camera } = loadSettings();
    const tell = (result: Result): void => setResults((known) => [...known, result]);
    await runTest({ meeting, microphone, camera }, setRunning, tell);
    setRunning(null);
    setOver(true);
  };

  const verdict = over ? overall(results) : null;
  const isRunning = running !== null;
  const pending = STEPS.find((step) => step.id === running && !results.some((result) => result.id === running));
  return (
    <main class="entry">
      <div class="card narrow connection">
        <div class="brand">
          <Mark />
          <span>Anteroom</span>
        </div>
        <h1 ref={heading} tabIndex={-1} data-testid="verdict" class={verdict?.tone}>
          {verdict?.title ?? 'Test my connection'}
        </h1>
        <p class="muted" data-testid="verdict-text">
          {verdict?.text ??
            'Tries what a meeting needs: the server, the ways for sound and pictures, your microphone and your camera. It takes up to a minute.'}
        </p>
        <ol class="steps" aria-live="polite" aria-busy={isRunning}>
          {results.map((result) => (
            <StepLine key={result.id} result={result} title={STEPS.find(({ id }) => id === result.id)?.title ?? ''} />
          ))}
          {pending && <StepLine key={pending.id} result={null} title={pending.title} />}
        </ol>
        {over && <Report results={results} />}
        <button class="primary" type="button" disabled={isRunning} data-testid="start" onClick={() => void start()}>
          {over ? 'Test again' : 'Start'}
        </button>
        <a class="quiet" href={meeting === null ? '/' : roomPath(meeting)}>
          {meeting === null ? 'Choose a room' : `Back to ${meeting}`}
        </a>
      </div>
    </main>
  );
}
