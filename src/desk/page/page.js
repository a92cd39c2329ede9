
"use strict";
// The page of tarry-desk. What comes from the network, and so from strangers, becomes text by textContent alone, and what is no printable ASCII is shown by its number.
(() => {
	const PASSED = ["patient", "exempt", "known"], AWAY = ["early", "refused", "banned", "gone", "limited", "nobackend"];
	const WHAT = {
		patient: "waited", exempt: "exempt", known: "known", early: "talked early", refused: "refused", banned: "banned", gone: "hung up", limited: "over a limit", nobackend: "no backend",
		would: "observed: would be refused",
	};
	// What somebody is banned for: words of ban_offences; others are kinds of early talk.
	const BANNED_FOR = { early: "talked early", later: "talked before a reply", refused: "refused often", limited: "often over a limit", forbidden: "forbidden commands", "by hand": "by hand" };
	const TURNED_SHOWN = 50, SECOND = 1000, LATE = 15 * SECOND, KEPT = { hour: 360, day: 1440 }, STEP = { hour: 10, day: 60 };
	const state = { series: [], hour: [], day: [], talk: [], gone: [], turned: [], often: {}, span: "hour", pause: 0, door: null, advice: null, count: {}, now: 0 };
	const $ = id => document.getElementById(id);
	let heard = 0, tried = 0, source = null, again = null, cursor = {};

	// ---- text ----

	const element = (name, text, className) => {
		const e = document.createElement(name);
		if (text !== undefined)
			e.textContent = text;
		if (className)
			e.className = className;
		return e;
	};
	const NAMED = { 9: "\\t", 10: "\\n", 13: "\\r", 92: "\\\\" };
	const escapeOne = c => NAMED[c] || "\\x" + c.toString(16).padStart(2, "0");
	// Printable ASCII, in which no mark can turn the direction of what follows.
	const plain = text => Array.from(String(text), c => c >= " " && c <= "~" ? c : escapeOne(c.charCodeAt(0))).join("");
	const bytesElement = bytes => {
		const e = element("span", undefined, "bytes");
		for (const part of bytes.match(/[ -[\]-~]+|[^ -[\]-~]+/g) || [])
			e.append(/^[ -[\]-~]/.test(part) ? part : element("i", Array.from(part, c => escapeOne(c.charCodeAt(0))).join("")));
		return e;
	};
	const number = n => Number(n).toLocaleString("en");
	const percent = (part, all) => all > 0 ? (100 * part / all).toFixed(part < all && part > .995 * all || part > 0 && part < .005 * all ? 2 : 0) + " %" : "";
	const seconds = ms => ms >= 9950 ? (ms / 1000).toFixed(0) + " s" : ms >= 995 ? (ms / 1000).toFixed(1) + " s" : ms >= 10 ? ms.toFixed(0) + " ms" : ms.toFixed(1).replace(/\.0$/, "") + " ms";
	const two = n => String(n).padStart(2, "0");
	const clock = (at, withSeconds) => {
		const t = new Date(at), day = t.toDateString() === new Date(state.now * SECOND).toDateString() ? "" : t.getFullYear() + "-" + two(t.getMonth() + 1) + "-" + two(t.getDate()) + " ";
		return day + two(t.getHours()) + ":" + two(t.getMinutes()) + (withSeconds ? ":" + two(t.getSeconds()) : "");
	};
	const timeElement = (at, withSeconds) => {
		const e = element("time", clock(at, withSeconds));
		e.dateTime = new Date(at).toISOString();
		return e;
	};

	// ---- charts ----

	const svg = (name, attributes, text) => {
		const e = document.createElementNS("http://www.w3.org/2000/svg", name);
		for (const [k, v] of Object.entries(attributes))
			e.setAttribute(k, v);
		if (text !== undefined)
			e.textContent = text;
		return e;
	};
	const LEFT = 44, RIGHT = 10, TOP = 18, BOTTOM = 22, TEXT = 14;
	const box = e => {
		const width = e.clientWidth || 640, height = e.clientHeight || 200;
		e.setAttribute("viewBox", `0 0 ${width} ${height}`);
		e.replaceChildren();
		return { width, height, x0: LEFT, x1: width - RIGHT, y0: height - BOTTOM, y1: TOP };
	};
	// A round number at or above it, with the step of its ticks.
	const round = most => {
		const size = 10 ** Math.floor(Math.log10(Math.max(most, 4)));
		const top = [1, 2, 4, 5, 10].map(m => m * size).find(v => v >= Math.max(most, 4));
		return { top, step: top / (top / size === 5 || top / size === 10 ? 5 : 4) };
	};
	const shortNumber = n => n >= 1e6 ? +(n / 1e6).toFixed(1) + "M" : n >= 1e4 ? +(n / 1e3).toFixed(1) + "k" : String(+n.toFixed(2));
	const axisY = (e, b, most) => {
		const { top, step } = round(most);
		for (let v = 0; v <= top; v += step) {
			const y = b.y0 - (b.y0 - b.y1) * v / top;
			e.append(svg("path", { class: "axis", d: `M${b.x0} ${y}H${b.x1}` }), svg("text", { x: b.x0 - 6, y: y + 4, "text-anchor": "end" }, shortNumber(v)));
		}
		return v => b.y0 - (b.y0 - b.y1) * v / top;
	};
	const axisTime = (e, b, from, to) => {
		const x = at => b.x0 + (b.x1 - b.x0) * (at - from) / (to - from);
		const steps = [300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200], step = steps.find(s => (to - from) / s <= (b.x1 - b.x0) / 64) || 86400;
		const offset = new Date(to * SECOND).getTimezoneOffset() * 60;
		for (let at = Math.ceil((from - offset) / step) * step + offset; at < to; at += step)
			if (x(at) > b.x0 + 14 && x(at) < b.x1 - 14) {
				const t = new Date(at * SECOND);
				e.append(svg("text", { x: x(at), y: b.height - 5, "text-anchor": "middle" }, two(t.getHours()) + ":" + two(t.getMinutes())));
			}
		return x;
	};
	const column = name => state.series.indexOf(name) + 1;
	// Points put together, so that a bar is a few pixels wide: sums of counters, the most of gauges.
	const gather = (names, most) => {
		const span = state.span, step = STEP[span], all = KEPT[span], to = Math.floor(state.now / step) * step, from = to - all * step;
		const size = step * [1, 2, 3, 5, 6, 10, 15, 30].find(n => all / n <= most), slots = [];
		for (let at = Math.floor(from / size) * size; at < to; at += size)
			slots.push({ at, of: names.map(() => 0), seen: false });
		const first = slots.length ? slots[0].at : 0, columns = names.map(column);
		for (const p of state[span]) {
			const s = slots[Math.floor((p[0] - first) / size)];
			if (s) {
				s.seen = true;
				columns.forEach((c, i) => { s.of[i] = names[i] === "held" || names[i] === "open" ? Math.max(s.of[i], p[c]) : s.of[i] + p[c]; });
			}
		}
		return { slots, size, from: first, to: first + slots.length * size };
	};
	const sum = list => list.reduce((a, b) => a + b, 0);
	// Where the pointer or the arrow keys are, in words.
	const readable = (e, output, bars, say) => {
		const cur = cursor[e.id];
		e.reader = { output, bars, say };
		if (cur === undefined || !bars[cur])
			return;
		const b = bars[cur];
		e.append(svg("path", { class: "at", d: `M${b.x} ${TOP}V${e.viewBox.baseVal.height - BOTTOM}` }));
		output.textContent = say(b);
	};
	const point = (e, index) => {
		const r = e.reader;
		if (!r || !r.bars.length)
			return;
		cursor[e.id] = index === undefined ? undefined : Math.max(0, Math.min(r.bars.length - 1, index));
		if (index === undefined)
			r.output.textContent = "";
		draw[e.id]();
	};
	const nearest = (e, event) => {
		const x = event.clientX - e.getBoundingClientRect().left;
		let best = 0;
		e.reader.bars.forEach((b, i) => { if (Math.abs(b.x - x) < Math.abs(e.reader.bars[best].x - x)) best = i; });
		return best;
	};
	const follow = e => {
		e.addEventListener("pointermove", event => { if (e.reader && e.reader.bars.length) point(e, nearest(e, event)); });
		e.addEventListener("pointerleave", () => point(e, undefined));
		e.addEventListener("blur", () => point(e, undefined));
		e.addEventListener("keydown", event => {
			const r = e.reader, by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
			if (!r || !r.bars.length || (by === undefined && event.key !== "Home" && event.key !== "End" && event.key !== "Escape"))
				return;
			event.preventDefault();
			const at = cursor[e.id] === undefined ? r.bars.length : cursor[e.id];
			point(e, event.key === "Escape" ? undefined : event.key === "Home" ? 0 : event.key === "End" ? r.bars.length - 1 : at + by);
		});
	};
	const draw = {
		verdicts() {
			const e = $("verdicts"), b = box(e), names = [...PASSED, ...AWAY, "would"].filter(n => column(n) > 0), g = gather(names, (b.x1 - b.x0) / 4);
			const y = axisY(e, b, Math.max(...g.slots.map(s => sum(s.of.slice(0, names.length - 1))), 0)), x = axisTime(e, b, g.from, g.to);
			const wide = Math.max(1, (b.x1 - b.x0) / Math.max(1, g.slots.length) - 1), paths = names.map(() => ""), totals = names.map(() => 0), bars = [];
			for (const s of g.slots) {
				let below = 0;
				names.forEach((n, i) => {
					totals[i] += s.of[i];
					if (n === "would" || s.of[i] === 0)
						return; // these are among those that were let in
					paths[i] += `M${x(s.at).toFixed(1)} ${y(below).toFixed(1)}h${wide.toFixed(1)}V${y(below + s.of[i]).toFixed(1)}h${(-wide).toFixed(1)}Z`;
					below += s.of[i];
				});
				if (s.seen)
					bars.push({ x: x(s.at) + wide / 2, s });
			}
			names.forEach((n, i) => e.append(svg("path", { class: "f-" + n, d: paths[i] })));
			readable(e, $("verdicts-at"), bars, bar => clock(bar.s.at * SECOND, state.span === "hour") + ": " + (names.map((n, i) => [n, bar.s.of[i]]).filter(p => p[1] > 0).map(p => number(p[1]) + " " + WHAT[p[0]]).join(", ") || "nobody came"));
			const passed = sum(totals.slice(0, PASSED.length)), away = sum(totals.slice(PASSED.length, PASSED.length + AWAY.length));
			e.setAttribute("aria-label", `Verdicts over the ${state.span === "hour" ? "last hour" : "last day"}: ${number(passed)} let in, ${number(away)} turned away. Arrow keys read single values.`);
			$("legend").replaceChildren(...names.map((n, i) => {
				const li = element("li"), swatch = svg("svg", { "aria-hidden": "true" });
				swatch.append(svg("rect", { width: "100%", height: "100%", rx: 2, class: "f-" + n }));
				li.append(swatch, WHAT[n] + " ", element("b", number(totals[i])));
				li.hidden = totals[i] === 0 && n !== "patient" && n !== "early";
				return li;
			}));
		},
		helds() {
			const e = $("helds"), b = box(e), names = ["held", "open"], g = gather(names, (b.x1 - b.x0) / 3), y = axisY(e, b, Math.max(...g.slots.map(s => Math.max(...s.of)), 0)), x = axisTime(e, b, g.from, g.to);
			const bars = g.slots.filter(s => s.seen).map(s => ({ x: x(s.at + g.size / 2), s }));
			names.map((n, i) => {
				let d = "", last = null;
				for (const bar of bars) {
					d += (bar.s.at - last === g.size ? "L" : "M") + x(bar.s.at).toFixed(1) + " " + y(bar.s.of[i]).toFixed(1) + "H" + x(bar.s.at + g.size).toFixed(1);
					last = bar.s.at;
				}
				return svg("path", { class: "l-" + n, d });
			}).reverse().forEach(path => e.append(path));
			readable(e, $("helds-at"), bars, bar => `${clock(bar.s.at * SECOND, state.span === "hour")}: at most ${number(bar.s.of[0])} held, ${number(bar.s.of[1])} open`);
			e.setAttribute("aria-label", `Connections at the same time: ${number(state.count.held || 0)} held and ${number(state.count.open || 0)} open now; at most ${number(Math.max(0, ...g.slots.map(s => s.of[0])))} held. The line is those held, the broken one all that are open. Arrow keys read single values.`);
		},
		talk() {
			const e = $("talk"), b = box(e), bars = state.talk, all = sum(bars.map(p => p[1]));
			const EDGES = [1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10], end = from => { // of the bar that begins there
				if (from < 1)
					return 1;
				const decade = 10 ** Math.floor(Math.log10(from) + 1e-9), i = EDGES.findIndex(m => m * decade > from * 1.001);
				return EDGES[i] * decade;
			};
			b.y1 += TEXT;
			const pause = state.pause, low = 1, high = Math.max(10000, pause * 2, ...bars.map(p => end(p[0]))), log = Math.log10(high / low);
			const x = ms => b.x0 + (b.x1 - b.x0) * Math.log10(Math.max(ms, low * .8) / (low * .8)) / (log + Math.log10(1.25)), y = axisY(e, b, Math.max(...bars.map(p => p[1]), 0));
			for (let ms = low; ms <= high; ms *= 10)
				e.append(svg("text", { x: Math.min(x(ms), b.width - 18), y: b.height - 5, "text-anchor": "middle" }, ms < 1000 ? ms + " ms" : ms / 1000 + " s"));
			let d = "";
			const read = bars.map(p => {
				const from = x(p[0]), to = Math.max(x(end(p[0])) - 1, from + 1);
				d += `M${from.toFixed(1)} ${b.y0}H${to.toFixed(1)}V${y(p[1]).toFixed(1)}H${from.toFixed(1)}Z`;
				return { x: (from + to) / 2, p };
			});
			e.append(svg("path", { class: "f-early", d }));
			const advised = state.advice ? state.advice.pause : 0, NEAR = 125; // pixels that a text may take
			const line = (ms, className, text, above) => { // so far above the bars, that two texts do not meet; nor does a text meet the other line
				const right = x(ms) > b.x1 - NEAR || (pause > ms && x(pause) < x(ms) + NEAR), top = b.y1 - 6 - above;
				e.append(svg("path", { class: className, d: `M${x(ms)} ${b.y0}V${top}` }), svg("text", { class: "marked", x: x(ms) + (right ? -5 : 5), y: top, "text-anchor": right ? "end" : "start" }, text));
			};
			if (pause > 0)
				line(pause, "mark", "pause " + seconds(pause), TEXT);
			if (advised > 0)
				line(advised, "advised", "recommended " + seconds(advised), 0);
			const quantile = (q, of = bars, total = all) => {
				let n = 0;
				for (const p of of)
					if ((n += p[1]) >= q * total)
						return end(p[0]);
				return 0;
			};
			const gone = sum(state.gone.map(p => p[1]));
			$("gone-says").textContent = gone === 0 ? "" : `${number(gone)} have hung up before they were greeted: half of them within ${seconds(quantile(.5, state.gone, gone))}, nine in ten within ${seconds(quantile(.9, state.gone, gone))}.`;
			const before = sum(bars.filter(p => end(p[0]) <= pause * 1.001).map(p => p[1]));
			$("talk-says").textContent = all === 0 ? "Nobody has talked early since the door was started."
				: `${number(all)} have talked early since the door was started: half of them within ${seconds(quantile(.5))}, nine in ten within ${seconds(quantile(.9))}, 99 in a hundred within ${seconds(quantile(.99))} of coming.`;
			readable(e, $("talk-at"), read, bar => `${number(bar.p[1])} talked between ${seconds(bar.p[0])} and ${seconds(end(bar.p[0]))} after they had come`);
			e.setAttribute("aria-label", `Histogram of when early talkers talk, ${number(all)} of them, ${number(before)} within the pause of ${seconds(pause)}. Arrow keys read single values.`);
		},
	};

	// ---- tables ----

	const row = (...cells) => {
		const tr = element("tr");
		for (const c of cells) {
			const td = c && c.tagName === "TD" ? c : element("td");
			if (td !== c)
				td.append(c);
			tr.append(td);
		}
		return tr;
	};
	const cell = (className, ...parts) => {
		const td = element("td", undefined, className);
		td.append(...parts);
		return td;
	};
	const bannedElements = t => {
		const why = t.reason ? BANNED_FOR[t.reason] || "talked early: " + plain(t.reason) : "";
		return [why, t.times > 1 ? number(t.times) + " bans so far" : "", "until " + clock(t.until * SECOND, false)].filter(s => s).map(s => element("small", s));
	};
	const turnedRow = t => {
		const client = cell("", plain(t.client)), after = t.verdict === "early" || t.pause > 0 ? seconds(t.after) : "";
		if (t.name)
			client.append(element("small", plain(t.name)));
		const verdict = cell("", plain(WHAT[t.verdict] || t.verdict)), more = [t.kind, t.stage && t.stage !== "greet" ? "at " + t.stage : "", t.observed ? "observed only" : ""].filter(s => s).join(", ");
		if (more)
			verdict.append(element("small", plain(more)));
		const waits = cell("n short", after);
		if (t.pause > 0 && (!t.stage || t.stage === "greet"))
			waits.append(element("small", " of " + seconds(t.pause)));
		if (t.until)
			verdict.append(...bannedElements(t));
		const said = t.count ? element("span", t.count > 1 ? `${number(t.count)} times since ${clock(t.since, false)}` : "", "often") : bytesElement(t.bytes);
		const tr = row(cell("short", timeElement(t.at, true)), client, verdict, waits, said);
		tr.title = t.id ? "id=" + plain(t.id) + " in the log" : "";
		return tr;
	};
	const showTurned = () => {
		const all = [...state.turned, ...Object.values(state.often)].sort((a, b) => b.at - a.at);
		$("turned").replaceChildren(...all.map(turnedRow));
		$("turned-none").hidden = all.length > 0;
	};
	const showNetworks = list => {
		$("networks").replaceChildren(...list.map(n => {
			const count = cell("n", number(n.count - n.over));
			if (n.over > 0)
				count.append(element("small", "to " + number(n.count)));
			return row(plain(n.network), count);
		}));
		$("networks-none").hidden = list.length > 0;
	};
	const serverRow = (kind, name, at, s) => {
		const which = cell("", plain(name)), how = cell(s.state === "up" ? "up" : s.state === "down" ? "down" : "unknown", s.state === "unknown" ? "not tried yet" : plain(s.state));
		which.append(element("small", kind + (at && at !== name ? ", " + plain(at) : "")));
		if (s.error)
			how.append(element("small", plain(s.error)));
		return row(which, how, s.since ? timeElement(Date.parse(s.since), false) : "");
	};
	const showDoor = door => {
		const since = Date.parse(door.started), warnings = [];
		$("door").textContent = `version ${plain(door.version)}, since ${isNaN(since) ? "?" : clock(since, false)}, at ${door.listen.map(l => plain(l.at)).join(", ")}`;
		$("servers").replaceChildren(...door.backends.map(b => serverRow("backend", b.name, b.address, b)), ...door.maps.map(m => serverRow("map", m.name, m.name, m)));
		if (door.fronts_at_work < door.fronts)
			warnings.push(`${door.fronts_at_work} of ${door.fronts} fronts are at work.`);
		if (door.counters.stress > 0)
			warnings.push("Under stress: nearly all connections or descriptors are in use, pauses and time-outs are short.");
		if (door.counters.blind > 0)
			warnings.push("Nearly all clients come from one private address: the rules are about a load balancer or a NAT, not about clients.");
		for (const b of door.backends)
			if (b.state === "down")
				warnings.push(`Backend ${plain(b.name)} is down: ${plain(b.error)}.`);
		const old = Array.from($("warnings").children, w => w.textContent).join("\n");
		if (old !== warnings.join("\n"))
			$("warnings").replaceChildren(...warnings.map(w => element("p", w, "warning")));
	};

	// ---- what is told ----

	const merge = (span, points) => {
		const have = new Map(state[span].map(p => [p[0], p]));
		for (const p of points)
			have.set(p[0], p);
		state[span] = Array.from(have.values()).sort((a, b) => a[0] - b[0]).slice(-KEPT[span]);
	};
	const showNow = () => {
		const c = state.count, minute = state.hour.slice(-6).filter(p => p[0] >= state.now - 70), verdicts = [...PASSED, ...AWAY].map(column);
		const total = names => sum(state.hour.map(p => sum(names.map(n => p[column(n)] || 0)))), away = total(AWAY), all = away + total(PASSED);
		$("held").textContent = number((c.held || 0) + (c.asked || 0));
		$("open").textContent = number(c.open || 0);
		$("minute").textContent = number(sum(minute.map(p => sum(verdicts.map(v => p[v] || 0)))));
		$("away").replaceChildren(number(away), element("small", all > 0 ? " " + percent(away, all) : ""));
		$("bans").hidden = !c.banned_clients && !c.ban_hits;
		$("banned").textContent = number(c.banned_clients || 0);
		$("pause").textContent = state.pause > 0 ? seconds(state.pause) : "none";
	};
	const share = part => part === null ? "?" : (100 * part).toFixed(1);
	const longSpan = ms => ms < 120e3 ? seconds(ms) : ms < 7200e3 ? (ms / 60e3).toFixed(0) + " min" : (ms / 3600e3).toFixed(1) + " h";
	const ladderRow = (advice, [at, caught, low, high], remark) => {
		const which = cell("n short", at < 1000 ? at + " ms" : +(at / 1000).toFixed(2) + " s");
		if (remark)
			which.append(element("small", remark));
		return row(which, cell("n short", share(caught) + " %"), cell("n", share(low) + " to " + share(high) + " %"), cell("n short", advice.day === null ? "" : longSpan(advice.day * at)));
	};
	// As tarry advise has it. What comes of a pause is known up to explore_pause alone.
	const showLadder = advice => {
		const all = advice.talked + advice.gone + advice.waited, force = advice.now, same = r => Math.abs(r[0] - force[0]) < 1;
		$("catches").hidden = advice.talked === 0 || advice.ladder.length === 0;
		$("studied").textContent = `${number(all)} clients had to wait, known and exempt ones not among them: ${number(advice.talked)} talked early, ${number(advice.gone)} hung up, ${number(advice.waited)} waited.`
			+ (advice.day === null ? "" : ` ${number(Math.round(advice.day))} a day wait to be greeted.`);
		const rungs = [...advice.ladder.filter(r => !same(r)), force].sort((a, b) => a[0] - b[0]);
		$("ladder").replaceChildren(...rungs.map(r => ladderRow(advice, r, r === force ? "in force" : "")));
	};
	const showAdvice = advice => {
		state.advice = advice;
		$("advised").hidden = $("reason").hidden = !advice;
		if (advice)
			showLadder(advice);
		else
			$("catches").hidden = true;
		if (advice) {
			$("advice").textContent = advice.pause > 0 ? seconds(advice.pause) : "–";
			$("reason").textContent = plain(advice.reason);
		}
	};
	const take = (message, all) => {
		heard = Date.now();
		state.now = message.now;
		state.pause = message.pause;
		state.count = message.count;
		if (all) {
			state.series = message.series;
			state.hour = message.hour;
			state.day = message.day;
			state.turned = [];
			state.often = {};
		} else {
			for (const span of ["hour", "day"])
				if (message[span])
					merge(span, message[span]);
		}
		if (message.door) {
			state.door = message.door;
			state.talk = message.talk;
			state.gone = message.gone;
			showDoor(message.door);
			showNetworks(message.networks);
			showAdvice(message.advice || null);
			drawAll();
		}
		if (all || message.turned.length + message.often.length > 0) {
			for (const o of message.often)
				state.often[o.place] = o; // each once, however often it comes
			state.turned = [...message.turned, ...state.turned].sort((a, b) => b.at - a.at).slice(0, TURNED_SHOWN);
			showTurned();
		}
		$("missed").hidden = !message.missed;
		$("missed").textContent = message.missed ? `${number(message.missed)} more came too many at a time to be shown here; they are counted all the same.` : "";
		showNow();
		alive(true);
	};
	const drawAll = () => Object.values(draw).forEach(f => f());

	// ---- the connection ----

	const alive = yes => {
		$("live").textContent = yes ? "live" : "not connected";
		$("live").className = yes ? "yes" : "";
		$("lost").hidden = yes;
		if (!yes)
			$("lost").textContent = "The connection to the desk is lost" + (heard ? `; what stands here is of ${clock(heard, true)}` : "") + ". It is tried again and again.";
	};
	const connect = () => {
		clearTimeout(again);
		tried = Date.now();
		if (source)
			source.close();
		source = new EventSource("/events");
		source.addEventListener("all", e => take(JSON.parse(e.data), true));
		source.addEventListener("tick", e => take(JSON.parse(e.data), false));
		source.onerror = () => {
			alive(false);
			if (source.readyState === EventSource.CLOSED)
				again = setTimeout(connect, 5 * SECOND); // it was refused, and the browser does not try again
		};
	};
	setInterval(() => {
		if (heard && Date.now() - Math.max(heard, tried) > LATE && !document.hidden) {
			alive(false);
			connect(); // nothing comes any more, and nobody has said so
		}
	}, SECOND);
	for (const span of ["hour", "day"])
		$("b-" + span).addEventListener("click", () => {
			state.span = span;
			cursor = {};
			for (const s of ["hour", "day"])
				$("b-" + s).setAttribute("aria-pressed", String(s === span));
			drawAll();
		});
	for (const id of Object.keys(draw))
		follow($(id));
	addEventListener("resize", drawAll);
	connect();
})();
