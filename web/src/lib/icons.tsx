// Line icons on a 24 by 24 grid. They are decoration: the button around them carries the name.

import type { ComponentChildren, JSX } from 'preact';

function Icon({ children }: { children: ComponentChildren }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

const SLASH = <path d="M4 3.5 20 20.5" />;

const MIC = (
  <>
    <rect x="9" y="3" width="6" height="11" rx="3" />
    <path d="M5.5 11.5a6.5 6.5 0 0 0 13 0M12 18v3" />
  </>
);
const CAMERA = (
  <>
    <rect x="3" y="6.5" width="12.5" height="11" rx="2.5" />
    <path d="m15.5 10.5 5-2.8v8.6l-5-2.8" />
  </>
);

export const MicIcon = ({ off = false }: { off?: boolean }): JSX.Element => (
  <Icon>
    {MIC}
    {off && SLASH}
  </Icon>
);

export const CameraIcon = ({ off = false }: { off?: boolean }): JSX.Element => (
  <Icon>
    {CAMERA}
    {off && SLASH}
  </Icon>
);

export const ScreenIcon = (): JSX.Element => (
  <Icon>
    <rect x="3" y="4.5" width="18" height="12" rx="2" />
    <path d="M8.5 20h7M12 13.5V8m-2.3 2.2L12 8l2.3 2.2" />
  </Icon>
);

export const PeopleIcon = (): JSX.Element => (
  <Icon>
    <circle cx="9" cy="8" r="3.2" />
    <path d="M3 19c.4-3.4 2.7-5.2 6-5.2s5.6 1.8 6 5.2M15.5 5.2a3 3 0 0 1 0 5.6M17.5 14.2c2 .6 3.2 2.2 3.5 4.8" />
  </Icon>
);

export const ChatIcon = (): JSX.Element => (
  <Icon>
    <path d="M4 5.5h16a1 1 0 0 1 1 1v9a1 1 0 0 1-1 1h-8l-4.5 3.8v-3.8H4a1 1 0 0 1-1-1v-9a1 1 0 0 1 1-1Z" />
  </Icon>
);

export const LeaveIcon = (): JSX.Element => (
  <Icon>
    <path d="M3.2 14.6c-.6-1.4.3-3 1.7-3.8 4.3-2.4 9.9-2.4 14.2 0 1.4.8 2.3 2.4 1.7 3.8l-.4 1c-.3.6-1 .9-1.6.7l-2.7-.9c-.5-.2-.9-.7-.9-1.2v-1.5a12 12 0 0 0-6.4 0v1.5c0 .5-.4 1-.9 1.2l-2.7.9c-.6.2-1.3-.1-1.6-.7Z" />
  </Icon>
);

export const LinkIcon = (): JSX.Element => (
  <Icon>
    <path d="M10 14a4 4 0 0 0 5.7 0l3.1-3.1a4 4 0 0 0-5.7-5.7L12 6.3M14 10a4 4 0 0 0-5.7 0l-3.1 3.1a4 4 0 0 0 5.7 5.7L12 17.7" />
  </Icon>
);

export const GearIcon = (): JSX.Element => (
  <Icon>
    <path d="M4 7h9m4 0h3M4 17h3m4 0h9" />
    <circle cx="15" cy="7" r="2" />
    <circle cx="9" cy="17" r="2" />
  </Icon>
);

export const HelpIcon = (): JSX.Element => (
  <Icon>
    <rect x="3" y="6" width="18" height="12" rx="2" />
    <path d="M7 10h.01M11 10h.01M15 10h.01M17 10h.01M8.5 14h7" />
  </Icon>
);

export const CloseIcon = (): JSX.Element => (
  <Icon>
    <path d="m6 6 12 12M18 6 6 18" />
  </Icon>
);

export const SendIcon = (): JSX.Element => (
  <Icon>
    <path d="M4 12h15M13 6l6 6-6 6" />
  </Icon>
);

export const SoundIcon = (): JSX.Element => (
  <Icon>
    <path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5H4ZM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11" />
  </Icon>
);

/** The mark of the product: an open door. */
export const Mark = (): JSX.Element => (
  <svg class="mark" viewBox="0 0 32 32" width="32" height="32" aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="8" />
    <path d="M9 25V9.5A2.5 2.5 0 0 1 11.5 7h9A2.5 2.5 0 0 1 23 9.5V25M6.5 25h19" />
    <circle cx="19" cy="16.5" r="1.6" />
  </svg>
);
