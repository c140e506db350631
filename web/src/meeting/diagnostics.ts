// Numbers about what is received, for the debug overlay and the end-to-end tests.

import { type RemoteParticipant, type RemoteTrack, type Room, Track } from 'livekit-client';
import type { Session } from './session';

export interface VideoNumbers {
  framesDecoded: number;
  width: number;
  height: number;
  bytes: number;
}

export interface AudioNumbers {
  bytes: number;
  totalSamples: number;
  /** Sum since the start (RTCInboundRtpStreamStats.totalAudioEnergy). */
  energy: number;
  /** 0..1, now. */
  level: number;
}

export interface RemoteNumbers {
  identity: string;
  name: string;
  video: VideoNumbers | null;
  screen: VideoNumbers | null;
  audio: AudioNumbers | null;
}

export interface Numbers {
  state: string;
  link: string;
  identity: string;
  remote: RemoteNumbers[];
  rttMs: number | null;
  /** Milliseconds from the start of the page load; null: not yet. */
  timing: { joinedMs: number | null; firstFrameMs: number | null };
}

const timing: Numbers['timing'] = { joinedMs: null, firstFrameMs: null };

export function noteJoined(): void {
  timing.joinedMs ??= Math.round(performance.now());
}

export function noteRemoteFrame(): void {
  timing.firstFrameMs ??= Math.round(performance.now());
}

type Report = Record<string, number | string | boolean | undefined>;

async function reportOf(track: RemoteTrack | undefined): Promise<Report[]> {
  const report = await track?.getRTCStatsReport();
  const entries: Report[] = [];
  report?.forEach((entry: Report) => entries.push(entry));
  return entries;
}

const number = (value: Report[string]): number => (typeof value === 'number' ? value : 0);

function videoNumbers(reports: Report[]): VideoNumbers | null {
  const inbound = reports.find((entry) => entry['type'] === 'inbound-rtp');
  return inbound
    ? {
        framesDecoded: number(inbound['framesDecoded']),
        width: number(inbound['frameWidth']),
        height: number(inbound['frameHeight']),
        bytes: number(inbound['bytesReceived']),
      }
    : null;
}

function audioNumbers(reports: Report[]): AudioNumbers | null {
  const inbound = reports.find((entry) => entry['type'] === 'inbound-rtp');
  return inbound
    ? {
        bytes: number(inbound['bytesReceived']),
        totalSamples: number(inbound['totalSamplesReceived']),
        energy: number(inbound['totalAudioEnergy']),
        level: number(inbound['audioLevel']),
      }
    : null;
}

function rttMs(reports: Report[]): number | null {
  const pair = reports.find((entry) => entry['type'] === 'candidate-pair' && entry['nominated'] === true);
  const seconds = pair?.['currentRoundTripTime'];
  return typeof seconds === 'number' ? Math.round(seconds * 1000) : null;
}

async function participantNumbers(
  participant: RemoteParticipant,
): Promise<{ numbers: RemoteNumbers; rtt: number | null }> {
  const reports = (source: Track.Source): Promise<Report[]> =>
    reportOf(participant.getTrackPublication(source)?.track as RemoteTrack | undefined);
  const [video, screen, audio] = await Promise.all([
    reports(Track.Source.Camera),
    reports(Track.Source.ScreenShare),
    reports(Track.Source.Microphone),
  ]);
  return {
    numbers: {
      identity: participant.identity,
      name: participant.name ?? '',
      video: videoNumbers(video),
      screen: videoNumbers(screen),
      audio: audioNumbers(audio),
    },
    rtt: rttMs(video) ?? rttMs(audio),
  };
}

export async function collectNumbers(session: Session): Promise<Numbers> {
  const { room } = session;
  const all = await Promise.all([...room.remoteParticipants.values()].map(participantNumbers));
  return {
    state: room.state,
    link: session.link.get().kind,
    identity: room.localParticipant.identity,
    remote: all.map((entry) => entry.numbers),
    rttMs: all.find((entry) => entry.rtt !== null)?.rtt ?? null,
    timing: { ...timing },
  };
}

declare global {
  interface Window {
    /** Diagnostics of the current meeting; not an interface for applications. */
    anteroom?: { room: Room; stats(): Promise<Numbers> };
  }
}

export function exposeDiagnostics(session: Session): void {
  window.anteroom = { room: session.room, stats: () => collectNumbers(session) };
}
