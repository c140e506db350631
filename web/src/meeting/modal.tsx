// A dialog by the browser's own element: it keeps the focus inside and gives it back.

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { CloseIcon } from '../lib/icons';

interface Props {
  title: string;
  testId: string;
  onClose: () => void;
  children: ComponentChildren;
}

export function Modal({ title, testId, onClose, children }: Props): JSX.Element {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = element.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={element}
      aria-label={title}
      data-testid={testId}
      onClose={onClose}
      onClick={(event) => {
        // The dialog itself is only hit beside its contents.
        if (event.target === element.current) onClose();
      }}
    >
      <div class="dialog-body">
        <div class="panel-head">
          <h2>{title}</h2>
          <button type="button" class="quiet" aria-label="Close" onClick={onClose}>
            <CloseIcon />
          </button>
        </div>
        {children}
      </div>
    </dialog>
  );
}
