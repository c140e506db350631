// The chat.

import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { useCell } from '../lib/cell';
import { CHAT_TEXT_MAX, splitLinks } from '../lib/chat-codec';
import { SendIcon } from '../lib/icons';
import type { ChatLog, ChatMessage } from './chat-log';
import { SidePanel } from './panel';

const TIME = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

function Message({ message }: { message: ChatMessage }): JSX.Element {
  return (
    <li class={message.mine ? 'message mine' : 'message'} data-testid="chat-message" data-from={message.identity}>
      <div class="message-head">
        <b>{message.mine ? 'You' : message.name}</b>
        <time dateTime={new Date(message.ts).toISOString()}>{TIME.format(message.ts)}</time>
      </div>
      <p class="message-text">
        {splitLinks(message.text).map((part, index) =>
          part.kind === 'link' ? (
            <a key={index} href={part.text} target="_blank" rel="noopener noreferrer">
              {part.text}
            </a>
          ) : (
            part.text
          ),
        )}
      </p>
    </li>
  );
}

/** Keeps the newest message in view, unless somebody scrolled up to read. */
function MessageList({ messages }: { messages: ChatMessage[] }): JSX.Element {
  const list = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (list.current && atEnd.current) list.current.scrollTop = list.current.scrollHeight;
  }, [messages]);
  const scrolled = (): void => {
    const element = list.current;
    if (element) atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 40;
  };
  return (
    // A log that scrolls must be reachable without a mouse.
    <div
      ref={list}
      class="messages"
      role="log"
      aria-label="Messages"
      tabIndex={0}
      data-testid="chat-messages"
      onScroll={scrolled}
    >
      {messages.length === 0 && <p class="muted nothing">No messages yet. They reach those who are here now.</p>}
      <ol>
        {messages.map((message) => (
          <Message key={message.id} message={message} />
        ))}
      </ol>
    </div>
  );
}

export function ChatPanel({ chat, onClose }: { chat: ChatLog; onClose: () => void }): JSX.Element {
  const messages = useCell(chat.messages);
  const [text, setText] = useState('');
  const [failed, setFailed] = useState(false);
  const input = useRef<HTMLTextAreaElement>(null);
  useEffect(() => input.current?.focus(), []);

  const send = async (): Promise<void> => {
    if (text.trim() === '') return;
    setText('');
    try {
      await chat.send(text);
      setFailed(false);
    } catch {
      // Gives the words back instead of losing them.
      setText((now) => (now === '' ? text : now));
      setFailed(true);
    }
  };

  return (
    <SidePanel title="Chat" testId="chat-panel" onClose={onClose}>
      <MessageList messages={messages} />
      <form
        class="chat-form"
        onSubmit={(event) => {
          event.preventDefault();
          void send();
        }}
      >
        <p class="problem" role="alert">
          {failed && 'Not sent: no connection. Try again.'}
        </p>
        <div class="chat-row">
          <textarea
            ref={input}
            data-testid="chat-input"
            aria-label="Message"
            placeholder="Message"
            rows={1}
            maxLength={CHAT_TEXT_MAX}
            enterkeyhint="send"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
            onKeyDown={(event) => {
              if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
              event.preventDefault();
              void send();
            }}
          />
          <button class="primary square" type="submit" aria-label="Send" data-testid="chat-send">
            <SendIcon />
          </button>
        </div>
      </form>
    </SidePanel>
  );
}
