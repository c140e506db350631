// Components on observables (components-core speaks RxJS; this is all of it that the page needs).

import { useEffect, useReducer } from 'preact/hooks';

interface Subscribable {
  subscribe(next: () => void): { unsubscribe(): void };
}

/** Draws the component again whenever the observable made by `make` emits. */
export function useRedrawOn(make: () => Subscribable, dependencies: readonly unknown[]): void {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => {
    const subscription = make().subscribe(() => redraw(undefined));
    return () => subscription.unsubscribe();
    // The caller names what `make` depends on.
  }, [...dependencies]);
}
