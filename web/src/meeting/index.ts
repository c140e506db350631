// What the pages load when a meeting is near.

export { exposeDiagnostics, noteJoined } from './diagnostics';
export { Meeting } from './meeting';
export { joinProblem } from './reasons';
export { Session } from './session';
