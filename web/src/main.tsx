// Where the page starts.

import './styles/base.css';
import './styles/entry.css';
import './styles/connection.css';
import './styles/meeting.css';
import './styles/tile.css';
import './styles/panel.css';
import { render } from 'preact';
import { App } from './app';

const root = document.getElementById('app');
if (root) render(<App />, root);
