"use strict";
// The console works without this. It marks a form that is being sent, and keeps the overview live.

// A form that is on its way says so and is not sent twice.
document.addEventListener("submit", (event) => {
	const form = event.target;
	if (form.dataset.sent) {
		event.preventDefault();
		return;
	}
	form.dataset.sent = "yes";
	const button = event.submitter ?? form.querySelector("button");
	button?.setAttribute("aria-busy", "true");
	if (form.dataset.busy && button) {
		button.dataset.words = button.textContent;
		button.textContent = form.dataset.busy;
	}
});
// Who comes back to a page finds its forms as they were.
window.addEventListener("pageshow", () => {
	for (const form of document.querySelectorAll("form[data-sent]")) {
		delete form.dataset.sent;
		for (const button of form.querySelectorAll("button[aria-busy]")) {
			button.removeAttribute("aria-busy");
			if (button.dataset.words) button.textContent = button.dataset.words;
		}
	}
});

// A search that is not at its end goes on by itself until a page is full, or it is stopped.
const fullPage = 50;
if (document.querySelector("[data-further] .looked")) lookFurther();

async function lookFurther() {
	const part = (within, name) => within.querySelector(`[data-${name}]`);
	const rows = () => part(document, "results").querySelectorAll("tbody tr").length;
	const stopped = new AbortController();
	part(document, "results").setAttribute("aria-busy", "true");
	while (rows() < fullPage) {
		const further = part(document, "further").querySelector(".looked a");
		if (!further) break;
		const stop = document.createElement("button");
		stop.type = "button";
		stop.textContent = "Stop";
		stop.addEventListener("click", () => stopped.abort());
		const hadFocus = part(document, "further").contains(document.activeElement);
		further.replaceWith(stop);
		if (hadFocus) stop.focus();
		let next;
		try {
			const answer = await fetch(further.href, { signal: stopped.signal, redirect: "error" });
			if (!answer.ok) throw new Error(answer.statusText);
			next = new DOMParser().parseFromString(await answer.text(), "text/html");
		} catch {
			stop.replaceWith(further); // it was stopped, or the server is away: by hand it goes on
			further.focus();
			break;
		}
		const focused = document.activeElement === stop;
		const found = part(next, "results").querySelectorAll("tbody tr");
		if (rows()) part(document, "results").querySelector("tbody").append(...found);
		else part(document, "results").replaceChildren(...part(next, "results").childNodes);
		part(document, "further").replaceWith(part(next, "further"));
		if (focused) part(document, "further").querySelector("a")?.focus();
	}
	part(document, "results").removeAttribute("aria-busy");
	part(document, "found").textContent = rows() === 1 ? "1 lead found." : rows() + " leads found.";
}

const live = document.querySelector("[data-live]");
if (live && window.EventSource) keepLive();

function keepLive() {
	const words = live.querySelector("[data-live-text]");
	const problem = document.querySelector("[data-problem]");
	const changes = document.querySelector("[data-changes]");
	const trouble = (text) => {
		live.classList.toggle("lost", Boolean(text));
		live.classList.toggle("on", !text);
		if (problem.textContent !== text) problem.textContent = text;
		problem.hidden = !text;
	};
	const put = (element, text) => {
		if (element && element.textContent !== String(text)) element.textContent = text;
	};
	const names = (selector, key) => [...document.querySelectorAll(selector)].map((e) => e.dataset[key]).join("\n");

	const events = new EventSource(live.dataset.live);
	window.addEventListener("pagehide", () => events.close());
	window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
	events.addEventListener("error", () => {
		trouble(events.readyState === EventSource.CLOSED
			? "This page is not kept live any more: reload it."
			: "The connection was lost. What is shown may be old; it is being tried again.");
	});
	events.addEventListener("trouble", () => trouble("Redis does not answer. What is shown may be old."));
	events.addEventListener("activity", (event) => {
		const now = JSON.parse(event.data);
		for (const charts of document.querySelectorAll("[data-pushes]")) charts.innerHTML = now.pushes[charts.dataset.pushes] ?? "";
		document.querySelector("[data-accepted]").innerHTML = now.accepted;
	});
	events.addEventListener("overview", (event) => {
		const now = JSON.parse(event.data);
		if (now.connectors.map((c) => c.name).join("\n") !== names("[data-connector]", "connector") ||
			now.inbox.map((i) => i.origin).join("\n") !== names("[data-origin]", "origin")) {
			location.reload();
			return;
		}
		trouble("");
		put(words, "Live, as of " + now.at);
		const said = [];
		for (const c of now.connectors) {
			const card = document.querySelector(`[data-connector="${CSS.escape(c.name)}"]`);
			const field = (name) => card.querySelector(`[data-field="${name}"]`);
			const state = field("state");
			if (state.textContent !== c.state) said.push(`${c.name} is ${c.state}`);
			put(state, c.state);
			state.className = "state " + c.look;
			for (const name of ["why", "when", "backlog", "oldest", "parked"]) put(field(name), c[name]);
			field("parked").setAttribute("aria-label", `${c.parked} failed leads of ${c.name}`);
			const show = { failing: c.failing, fine: !c.failing, held: c.held, open: !c.paused };
			for (const [name, is] of Object.entries(show)) card.querySelector(`[data-if="${name}"]`).hidden = !is;
			const resume = card.querySelector("[data-resume]");
			if (!resume.hasAttribute("aria-busy")) {
				put(resume, c.paused ? "Resume" : "Try now");
				resume.setAttribute("aria-label", `${resume.textContent} ${c.name}`);
			}
		}
		for (const i of now.inbox) {
			const row = document.querySelector(`[data-origin="${CSS.escape(i.origin)}"]`);
			for (const name of ["spam", "unmapped", "fetching"]) put(row.querySelector(`[data-field="${name}"]`), i[name]);
		}
		put(document.querySelector("[data-config=revision]"), now.config.revision || "–");
		put(document.querySelector("[data-config=loaded]"), now.config.loaded);
		put(document.querySelector("[data-config-problem]"), now.config.problem);
		document.querySelector("[data-config=problem]").hidden = !now.config.problem;
		for (const [name, count] of Object.entries(now.badges)) {
			const badge = document.querySelector(`[data-badge="${name}"]`);
			put(badge, String(count).replace(/\B(?=(\d{3})+$)/g, "\u202f"));
			badge.hidden = !count;
		}
		if (said.length) changes.textContent = said.join(", ");
	});
}

// What a draft would do with a lead is shown as it is typed.
const editor = document.querySelector("form[data-tries]");
if (editor) {
	const shown = editor.querySelector("[data-outcome]");
	let waiting, asked = 0;
	const tryDraft = async () => {
		const mine = ++asked;
		const form = new URLSearchParams(new FormData(editor));
		form.set("do", "try");
		form.set("part", "outcome");
		shown.setAttribute("aria-busy", "true");
		let text = "";
		try {
			const answer = await fetch(editor.action, { method: "POST", body: form });
			if (answer.ok && !answer.redirected) text = await answer.text();
		} catch { /* said below */ }
		if (mine !== asked) return;
		shown.removeAttribute("aria-busy");
		if (!text) {
			shown.textContent = "It cannot be tried now. What is typed is still here; go on, or reload the page.";
			return;
		}
		shown.innerHTML = text;
		for (const said of editor.querySelectorAll("[data-problem-of]")) {
			const found = [...shown.querySelectorAll("[data-place]")].find((p) => p.dataset.place === said.dataset.problemOf);
			said.hidden = !found;
			said.textContent = found?.dataset.says ?? "";
		}
	};
	editor.addEventListener("input", () => {
		clearTimeout(waiting);
		waiting = setTimeout(tryDraft, 300);
	});
}

// A list is narrowed to what has the words that are typed.
for (const field of document.querySelectorAll("[data-narrows]")) {
	field.addEventListener("input", () => {
		for (const one of document.querySelectorAll(field.dataset.narrows)) {
			one.hidden = !one.dataset.kind.toLowerCase().includes(field.value.trim().toLowerCase());
		}
	});
}
