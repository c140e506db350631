// How loud a microphone is, about fifteen times a second.

const INTERVAL_MS = 66;
/** Speech from a desk microphone peaks near this; full scale would leave the meter almost empty. */
const LOUD = 0.25;

/** Calls `onLevel` with 0..1 until the returned function is called. */
export function startMicMeter(track: MediaStreamTrack, onLevel: (level: number) => void): () => void {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 512;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let shown = 0;
  const timer = setInterval(() => {
    if (context.state === 'suspended') void context.resume();
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    const level = Math.min(1, Math.sqrt(power) / LOUD);
    // Rises at once and falls slowly, as people expect of a meter.
    shown = Math.max(level, shown * 0.8);
    onLevel(shown);
  }, INTERVAL_MS);
  return () => {
    clearInterval(timer);
    void context.close();
  };
}
