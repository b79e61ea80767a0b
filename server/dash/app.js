/*
 * The dashboard: reads the JSON API, follows its event stream, and asks before it changes
 * anything. Text from machines is only ever put into text nodes.
 */
'use strict';

const DAY = 86400;
const machines = new Map();
let me = { role: 'none' }, versions = [], channels = [], groups = [], rollouts = [], shown = 0, last = 0, drawn = '';

const $ = id => document.getElementById(id);
const may = role => ['none', 'reader', 'operator', 'admin'].indexOf(me.role) >= ['none', 'reader', 'operator', 'admin'].indexOf(role);

/* An element with attributes and children; a string child is text, never markup. */
function el(name, attributes, ...children) {
	const e = document.createElementNS(name === 'svg' || attributes && attributes.svg ? 'http://www.w3.org/2000/svg' : 'http://www.w3.org/1999/xhtml', name);
	for (const [k, v] of Object.entries(attributes || {})) {
		if (k === 'onclick')
			e.addEventListener('click', v);
		else if (k !== 'svg' && v !== null && v !== undefined && v !== false)
			e.setAttribute(k, v);
	}
	for (const c of children.flat())
		if (c !== null && c !== undefined && c !== false)
			e.append(c);
	return e;
}

function trouble(text) {
	$('trouble').textContent = text || '';
	$('trouble').hidden = !text;
}

async function api(method, path, body) {
	const r = await fetch('/api/v1' + path, {
		method, headers: { 'X-Freshet': '1', 'Content-Type': 'application/json' },
		body: body === undefined ? undefined : JSON.stringify(body),
	});
	if (r.status === 401) {
		location.href = '/login';
		throw new Error('logged out');
	}
	const answer = r.status === 204 ? {} : await r.json();
	if (!r.ok)
		throw new Error(answer.error || r.status);
	return answer;
}

/* Ask, then do; what went wrong is shown where everybody looks. */
function confirmed(title, body, act, word) {
	$('ask-title').textContent = title;
	$('ask-body').replaceChildren(...[body].flat());
	$('ask-yes').textContent = word || 'Do it';
	const d = $('ask');
	d.returnValue = 'no';
	d.onclose = async () => {
		if (d.returnValue !== 'yes')
			return;
		try {
			trouble('');
			await act(d);
			await refresh();
		} catch (e) {
			trouble(title + ': ' + e.message);
		}
	};
	d.showModal();
}

const when = t => t ? new Date(t * 1000).toLocaleString() : '–';
const size = n => n >= 2 ** 30 ? (n / 2 ** 30).toFixed(1) + ' GiB' : (n / 2 ** 20).toFixed(1) + ' MiB';
const short = v => v ? v.slice(0, 10) : '–';
const label = v => { const x = versions.find(o => o.version === v); return x ? x.name + (x.label ? ' ' + x.label : '') + ' ' + short(v) : short(v); };

/* ---------------------------------------------------------------- labs */

function state(m) {
	if (!m.approved)
		return ['pending', 'waits for approval'];
	if (m.state === 'trouble')
		return ['trouble', 'FR-' + (m.code || '?') + ' ' + (m.text || '')];
	if (Date.now() / 1000 - m.last_seen > DAY)
		return ['old', 'not seen since ' + when(m.last_seen)];
	if (m.complete || m.percent === 100)
		return ['ready', 'complete'];
	if (m.percent !== null && ['ready', 'attached', 'fill'].includes(m.state))
		return ['fill', m.percent + ' %'];
	return ['boot', m.state || 'booting'];
}

function seat(m) {
	const [cls, text] = state(m);
	const b = el('button', { type: 'button', class: 'seat ' + cls, 'data-id': m.id, onclick: () => showMachine(m.id) },
		el('b', null, m.name || m.disk || m.uuid.slice(-12)), text.slice(0, 40));
	if (cls === 'fill')
		b.append(el('progress', { max: 100, value: m.percent, 'aria-label': 'of the image' }));
	return el('li', { id: 'seat-' + m.id }, b);
}

function groupCount(g) {
	const list = [...machines.values()].filter(m => m.group === g.name);
	return list.filter(m => state(m)[0] === 'ready').length + ' of ' + list.length + ' complete' + (g.note ? ', ' + g.note : '');
}

function groupCard(g) {
	const list = [...machines.values()].filter(m => m.group === g.name).sort((a, b) => (a.name || '~').localeCompare(b.name || '~', undefined, { numeric: true }) || a.id - b.id);
	const waiting = list.filter(m => !m.approved);
	return el('div', { class: 'card', id: 'group-' + g.name },
		el('div', { class: 'row' }, el('h3', null, g.name), el('span', { class: 'soft', id: 'count-' + g.name }, groupCount(g)),
			waiting.length && may('operator') ? el('button', { type: 'button', class: 'go', onclick: () => confirmed('Approve ' + waiting.length + ' machines of ' + g.name + '?',
				el('p', null, waiting.map(m => m.name || m.uuid).join(', ')), async () => { for (const m of waiting) await api('POST', '/machines/' + m.id + '/approve', {}); }) }, 'Approve ' + waiting.length) : null),
		el('ul', { class: 'seats' }, list.map(seat)));
}

function drawLabs() {
	const known = groups.length ? groups : [{ name: 'default' }];
	$('groups').replaceChildren(...known.filter(g => g.name === 'default' && !machines.size || g.machines || [...machines.values()].some(m => m.group === g.name)).map(groupCard));
	drawSummary();
}

function drawSummary() {
	const count = {};
	for (const m of machines.values())
		count[state(m)[0]] = (count[state(m)[0]] || 0) + 1;
	const words = { ready: 'complete', fill: 'filling', boot: 'booting', trouble: 'in trouble', pending: 'waiting for approval', old: 'not seen for a day' };
	$('summary').textContent = machines.size + ' machines' + Object.keys(words).filter(k => count[k]).map(k => ', ' + count[k] + ' ' + words[k]).join('');
}

/* ---------------------------------------------------------------- one machine */

/* When each state was entered, as a bar from power-on to now. */
function timeline(t) {
	const names = Object.keys(t).filter(k => k !== 'now').sort((a, b) => t[a] - t[b]);
	const end = Math.max(t.now || 0, ...names.map(n => t[n]), 1), wide = 640;
	const svg = el('svg', { viewBox: '0 0 ' + wide + ' ' + (names.length * 20 + 8), width: wide, role: 'img', 'aria-label': 'Boot timeline: ' + names.map(n => n + ' after ' + t[n] + ' ms').join(', ') });
	names.forEach((n, i) => {
		const from = t[n] / end * (wide - 210), to = (i + 1 < names.length ? t[names[i + 1]] : end) / end * (wide - 210);
		svg.append(el('rect', { svg: 1, x: 80 + from, y: i * 20 + 5, width: Math.max(to - from, 2), height: 12, fill: 'var(--fill)', rx: 2 }));
		const a = el('text', { svg: 1, x: 0, y: i * 20 + 15 }, n);
		const b = el('text', { svg: 1, x: 84 + Math.max(to, from + 2), y: i * 20 + 15 }, (t[n] / 1000).toFixed(2) + ' s');
		svg.append(a, b);
	});
	return svg;
}

/* Where what the guest read came from. */
function sources(r) {
	const c = r.counters || {}, net = r.network || {};
	const read = c.guest_read_bytes || 0, wire = Math.min(c.asked_bytes || 0, read);
	if (!read && !net.wire_bytes)
		return null;
	const part = read ? wire / read : 0;
	const svg = el('svg', { viewBox: '0 0 640 40', width: 640, role: 'img', 'aria-label': 'Guest reads: ' + size(read) + ', of it over the network ' + size(wire) });
	svg.append(el('rect', { svg: 1, x: 0, y: 4, width: 640, height: 12, fill: 'var(--ready)' }), el('rect', { svg: 1, x: 0, y: 4, width: 640 * part, height: 12, fill: 'var(--fill)' }),
		el('text', { svg: 1, x: 0, y: 32 }, 'guest read ' + size(read) + ': ' + size(wire) + ' waited for the network, the rest was local; over the wire in all ' + size(net.wire_bytes || 0)));
	return svg;
}

async function showMachine(id, again) {
	let m;
	try {
		m = await api('GET', '/machines/' + id);
	} catch (e) {
		trouble('Machine ' + id + ': ' + e.message);
		return;
	}
	if (again && (held || id !== shown)) {
		late = held;
		return;
	}
	shown = id;
	const facts = { State: state(m)[1], Group: m.group, UUID: m.uuid, Disk: m.disk, MAC: m.mac, Address: m.address, Version: label(m.version), 'Last seen': when(m.last_seen), Boots: m.boots, Note: m.note };
	const act = (word, path, text) => el('button', { type: 'button', onclick: () => confirmed(word + ' ' + (m.name || m.uuid) + '?', el('p', null, text), () => api('POST', '/machines/' + id + path, {}), word) }, word);
	$('machine-title').textContent = 'Machine ' + (m.name || m.id);
	$('machine-body').replaceChildren(
		el('dl', null, Object.entries(facts).flatMap(([k, v]) => [el('dt', null, k), el('dd', null, String(v ?? '–'))])),
		m.report && m.report.timeline_ms ? timeline(m.report.timeline_ms) : '', (m.report && sources(m.report)) || '',
		may('operator') ? el('div', { class: 'row' },
			!m.approved ? act('Approve', '/approve', 'It may boot from then on.') : null,
			act('Wake', '/wake', 'A magic packet is sent to ' + m.mac + '.'),
			act('Reset', '/reset', 'At its next boot, what the guest wrote is forgotten.'),
			m.code === 50 && m.disk ? el('button', { type: 'button', class: 'go', onclick: () => confirmed('Take the disk ' + m.disk + '?',
				el('p', null, 'EVERYTHING on this disk of ' + (m.name || m.uuid) + ' will be lost.'), () => api('PATCH', '/machines/' + id, { claim: 'serial:' + m.disk }), 'Erase and take it') }, 'Take this disk') : null,
			el('button', { type: 'button', onclick: () => editMachine(m) }, 'Change…')) : '');
	$('machine').hidden = false;
	if (!again)
		$('machine-title').focus();
}

function editMachine(m) {
	const name = el('input', { value: m.name || '' }), note = el('input', { value: m.note });
	const group = el('select', null, groups.map(g => el('option', { value: g.name, selected: g.name === m.group ? '' : null }, g.name)));
	confirmed('Change ' + (m.name || m.uuid), [el('label', null, 'Name ', name), el('label', null, 'Group ', group), el('label', null, 'Note ', note)],
		() => api('PATCH', '/machines/' + m.id, { name: name.value || null, group: group.value, note: note.value }), 'Save');
}

/* ---------------------------------------------------------------- channels, versions */

function versionSelect(except) {
	return el('select', { name: 'version' }, versions.filter(v => v.version !== except && v.name !== 'esp').map(v => el('option', { value: v.version }, label(v.version) + ', ' + when(v.created))));
}

async function rollOut(c) {
	const version = versionSelect(c.version), cost = el('p', { class: 'soft', role: 'status' }, '');
	const canary = el('select', null, el('option', { value: '' }, 'all at once'), groups.map(g => el('option', { value: g.name }, g.name + ' first')));
	const at = el('input', { type: 'datetime-local' });
	const price = async () => {
		try {
			const v = await api('GET', '/versions/' + version.value);
			cost.textContent = 'Costs ' + size(v.total_bytes) + ' over the line for ' + v.machines + ' machines.';
		} catch (e) {
			cost.textContent = e.message;
		}
	};
	version.onchange = price;
	if (!version.options.length) {
		trouble('There is no other version to roll out; push one first.');
		return;
	}
	price();
	confirmed('Roll out to ' + c.name, [el('label', null, 'Version ', version), el('label', null, 'To ', canary), el('label', null, 'Begin (empty: now) ', at), cost],
		() => api('POST', '/rollouts', Object.assign({ channel: c.name, version: version.value }, canary.value ? { canary: canary.value } : {},
			at.value ? { start_at: Math.floor(new Date(at.value) / 1000) } : {})), 'Roll out');
}

function rolloutCard(o) {
	const text = o.state === 'scheduled' ? 'begins ' + when(o.start_at) : o.state === 'canary' ? o.canary + ' has it: ' + o.canary_ready + ' of ' + o.canary_machines + ' ready, ' + o.canary_trouble + ' in trouble' : o.state;
	return el('div', { class: 'row', 'data-rollout': o.id }, el('span', null, 'Roll-out ' + o.id + ' of ' + label(o.version) + ': ' + text),
		o.state === 'canary' ? el('progress', { max: Math.max(o.canary_machines, 1), value: o.canary_ready, 'aria-label': 'canaries ready' }) : null,
		may('operator') ? [el('button', { type: 'button', class: 'go', onclick: () => confirmed('Bring roll-out ' + o.id + ' to all of ' + o.channel + '?', el('p', null, label(o.version)), () => api('POST', '/rollouts/' + o.id + '/promote', {}), 'To all') }, 'To all'),
			el('button', { type: 'button', onclick: () => confirmed('Cancel roll-out ' + o.id + '?', el('p', null, 'The canaries get the channel\u2019s version again.'), () => api('POST', '/rollouts/' + o.id + '/cancel', {}), 'Cancel it') }, 'Cancel')] : null);
}

function channelCard(c) {
	const active = rollouts.filter(o => o.channel === c.name && ['scheduled', 'canary', 'moving'].includes(o.state));
	return el('div', { class: 'card', id: 'channel-' + c.name },
		el('div', { class: 'row' }, el('h3', null, c.name), el('span', null, c.error ? 'not to be trusted: ' + c.error : label(c.version)), el('span', { class: 'soft' }, 'serial ' + c.serial + ', ' + (c.machines || 0) + ' machines'),
			may('operator') ? [el('button', { type: 'button', onclick: () => rollOut(c) }, 'Roll out…'),
				el('button', { type: 'button', onclick: () => confirmed('Roll back ' + c.name + '?', el('p', null, active.length ? 'The roll-out under way is cancelled.' : 'It points again at what it pointed at before.'), () => api('POST', '/rollback', { channel: c.name }), 'Roll back') }, 'Roll back')] : null),
		active.map(rolloutCard),
		c.history && c.history.length > 1 ? el('details', null, el('summary', null, 'History'), el('ul', null, c.history.map(h => el('li', null, when(h.time) + ': ' + label(h.version) + (h.who ? ', ' + h.who : '') + (h.why ? ' (' + h.why + ')' : ''))))) : null);
}

function drawVersions() {
	const text = JSON.stringify(versions);
	if (text === drawn)
		return;
	drawn = text;
	$('version-list').replaceChildren(...versions.slice().sort((a, b) => b.created - a.created).map(v => {
		const cost = el('td', null, el('button', { type: 'button', onclick: async () => {
			try {
				const c = await api('GET', '/versions/' + v.version);
				cost.replaceChildren(size(c.stored_bytes) + ' stored' + (c.missing_objects ? ', ' + c.missing_objects + ' objects missing' : '') + '; ' + size(c.total_bytes) + ' for ' + c.machines + ' PCs');
			} catch (e) {
				trouble(e.message);
			}
		} }, 'Compute'));
		return el('tr', null, el('td', null, el('code', { title: v.version }, short(v.version))), el('td', null, v.name), el('td', null, v.label), el('td', null, when(v.created)),
			el('td', null, size(v.image_bytes)), el('td', null, (v.channels || []).join(', ')), el('td', null, String(v.machines || 0)), cost);
	}));
}

/* ---------------------------------------------------------------- events */

function addEvent(e, quiet) {
	if (e.id <= last && !quiet)
		return;
	last = Math.max(last, e.id);
	const line = el('li', null, el('span', { class: 'soft' }, when(e.time) + '  ' + e.kind + '  '), e.text);
	$('event-list').prepend(line);
	while ($('event-list').children.length > 300)
		$('event-list').lastChild.remove();
	if (!quiet && ['channel', 'rollout', 'version', 'gc'].includes(e.kind))
		refreshSoon();
}

let soon = 0;

function refreshSoon() {
	if (!soon)
		soon = setTimeout(() => { soon = 0; refresh().catch(e => trouble(e.message)); }, 300);
}

function follow() {
	const source = new EventSource('/api/v1/events');
	source.addEventListener('machines', ev => {
		for (const m of JSON.parse(ev.data)) {
			const known = machines.get(m.id), old = $('seat-' + m.id);
			machines.set(m.id, m);
			if (!known || !old || known.group !== m.group)
				refreshSoon();
			else
				kept(() => old.replaceWith(seat(m)));
			if (m.id === shown && !$('machine').hidden)
				showMachine(shown, true);
		}
		for (const g of groups)
			if ($('count-' + g.name))
				$('count-' + g.name).textContent = groupCount(g);
		drawSummary();
		if (rollouts.some(o => o.state === 'canary')) /* how many are ready? */
			refreshSoon();
	});
	source.addEventListener('event', ev => addEvent(JSON.parse(ev.data)));
	source.onopen = () => { trouble(''); refreshSoon(); };
	source.onerror = () => trouble('The server does not answer; trying again.');
}

/* A button that is replaced between press and release is not clicked: what changes meanwhile is drawn after it. */
let held = false, late = false;

addEventListener('pointerdown', () => { held = true; }, true);
for (const name of ['pointerup', 'pointercancel'])
	addEventListener(name, () => {
		held = false;
		if (late)
			refreshSoon();
		late = false;
	}, true);

/* Draw anew, and leave the keyboard where it is and open what is open. */
function kept(draw) {
	if (held) {
		late = true;
		return;
	}
	const on = document.activeElement, home = on && on.closest('main [id]');
	const open = [...document.querySelectorAll('.card details[open]')].map(d => d.closest('.card').id);
	draw();
	for (const id of open) {
		const d = $(id) && $(id).querySelector('details');
		if (d)
			d.open = true;
	}
	if (!home || on.isConnected || !$(home.id))
		return;
	const like = [...$(home.id).querySelectorAll(on.tagName)], again = like.find(e => e.textContent === on.textContent) || like[0];
	if (again)
		again.focus();
}

async function refresh() {
	const [list, g, v, c, o] = await Promise.all(['/machines', '/groups', '/versions', '/channels', '/rollouts'].map(p => api('GET', p)));
	machines.clear();
	for (const m of list)
		machines.set(m.id, m);
	groups = g; versions = v; channels = c; rollouts = o;
	kept(() => {
		drawLabs();
		$('channel-list').replaceChildren(...channels.map(channelCard));
		drawVersions();
	});
	if (shown && !$('machine').hidden)
		showMachine(shown, true);
	document.body.dataset.ready = '1';
}

$('machine-close').addEventListener('click', () => {
	$('machine').hidden = true;
	const s = $('seat-' + shown);
	if (s)
		s.firstChild.focus();
	shown = 0;
});

(async () => {
	try {
		me = await api('GET', '/status');
		$('who').textContent = me.who + ' (' + me.role + ')';
		await refresh();
		for (const e of (await api('GET', '/log')).reverse())
			addEvent(e, true);
		follow();
	} catch (e) {
		trouble(e.message);
	}
})();
