// Shares the main area between shared screens and faces.

import { type Participant, type Room, Track } from 'livekit-client';
import type { JSX } from 'preact';
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { gridLayout, visibleOf } from '../lib/layout';
import { ParticipantTile } from './participant-tile';
import { ScreenTile } from './screen-tile';
import { everybody, useMembership, useSpeakers } from './use-room';

const GAP = 8;

interface Size {
  width: number;
  height: number;
}

function useSize(): [{ current: HTMLDivElement | null }, Size] {
  const element = useRef<HTMLDivElement>(null);
  const [size, setSize] = useState<Size>({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const target = element.current;
    if (!target) return;
    const measure = (): void => setSize({ width: target.clientWidth, height: target.clientHeight });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(target);
    return () => observer.disconnect();
  }, []);
  return [element, size];
}

function Faces({ room, people, strip }: { room: Room; people: Participant[]; strip: boolean }): JSX.Element {
  useSpeakers(room);
  const [element, size] = useSize();
  const shown = visibleOf(people, (participant) => participant.lastSpokeAt?.getTime() ?? 0);
  const hidden = people.length - shown.length;
  const layout = gridLayout(shown.length, size.width, size.height, GAP);
  const tileSize = strip ? {} : { width: `${layout.tileWidth}px`, height: `${layout.tileHeight}px` };
  return (
    // The strip scrolls, so the keyboard must reach it; the grid never does.
    <div
      ref={element}
      class={strip ? 'strip' : 'grid'}
      role="list"
      aria-label="Participants"
      {...(strip ? { tabIndex: 0 } : {})}
    >
      {shown.map((participant) => (
        <div role="listitem" class="cell" key={participant.identity} style={tileSize}>
          <ParticipantTile participant={participant} />
        </div>
      ))}
      {hidden > 0 && <p class="more">and {hidden} more</p>}
    </div>
  );
}

export function Stage({ room }: { room: Room }): JSX.Element {
  useMembership(room);
  const people = everybody(room);
  const screens = people.filter((participant) => participant.getTrackPublication(Track.Source.ScreenShare)?.track);
  return (
    <div class={screens.length > 0 ? 'stage sharing' : 'stage'}>
      {screens.length > 0 && (
        <div class="screens">
          {screens.map((participant) => (
            <ScreenTile key={participant.identity} participant={participant} />
          ))}
        </div>
      )}
      <Faces room={room} people={people} strip={screens.length > 0} />
      {people.length === 1 && screens.length === 0 && (
        <p class="alone" data-testid="alone">
          You are the only one here. Copy the link to invite others.
        </p>
      )}
    </div>
  );
}
