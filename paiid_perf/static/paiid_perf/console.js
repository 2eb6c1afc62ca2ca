// Progressive enhancement; every page works without: bars that move, values under the pointer or the arrow keys, copy
// buttons, times in the reader's zone.
(() => {
  "use strict";
  const EVERY_MS = 1000;
  const ACTIVE = new Set(["queued", "running"]);

  const wait = (ms) => new Promise((wake) => setTimeout(wake, ms));

  async function ask(url) {
    const answer = await fetch(url, { headers: { Accept: "application/json" } });
    return answer.ok ? answer.json() : null;
  }

  const put = (scope, selector, text) => {
    const found = scope.querySelector(selector);
    if (found && text !== undefined && text !== null) found.textContent = text;
  };

  function showState(pill, state, label) {
    if (!pill) return;
    pill.className = `perf-pill perf-pill-${state}`;
    pill.textContent = label;
  }

  function showPhase(phase) {
    const row = document.querySelector(`[data-phase="${CSS.escape(phase.name)}"]`);
    if (!row) return false;
    showState(row.querySelector(".perf-pill"), phase.status, phase.status_label);
    put(row, "[data-phase-summary]", phase.summary);
    put(row, "[data-phase-seconds]", phase.took);
    return true;
  }

  async function follow(card) {
    const bar = card.querySelector("progress");
    for (;;) {
      const run = await ask(card.dataset.follow);
      if (!run) return;
      bar.value = Math.round(100 * run.progress);
      put(card, "[data-step]", run.step);
      put(card, "[data-elapsed]", run.elapsed);
      showState(card.querySelector(".perf-pill"), run.status, run.status_label);
      card.querySelectorAll("[data-queued]").forEach((hint) => { hint.hidden = run.status !== "queued"; });
      const known = run.phases.every(showPhase);
      if (!ACTIVE.has(run.status) || (!known && document.querySelector(".perf-phases"))) {
        window.location.reload();
        return;
      }
      await wait(EVERY_MS);
    }
  }

  // What was approved may wait for hours: ask less and less often.
  async function awaitChange(mark) {
    for (let pause = EVERY_MS; ; pause = Math.min(1.3 * pause, 15 * EVERY_MS)) {
      await wait(pause);
      const row = await ask(mark.dataset.await);
      if (!row) return;
      if (row.status !== mark.dataset.now) {
        window.location.reload();
        return;
      }
    }
  }

  function offerCopy(block) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "perf-copy";
    button.textContent = block.dataset.copyLabel;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = block.dataset.copiedLabel;
    });
    block.append(button);
  }

  function explore(plot) {
    const slots = [...plot.querySelectorAll(".perf-slot")];
    if (!slots.length) return;
    const tip = document.createElement("div");
    tip.className = "perf-tip";
    tip.hidden = true;
    tip.setAttribute("role", "status");
    plot.append(tip);
    plot.tabIndex = 0;
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", plot.querySelector("svg").getAttribute("aria-label"));
    const words = slots.map((slot) => {
      const title = slot.querySelector("title");
      const text = title.textContent;
      title.remove(); // or the browser's own tip would stand on ours
      return text;
    });
    let at = -1;

    function show(index) {
      slots[at]?.classList.remove("perf-on");
      at = index;
      tip.hidden = at < 0;
      if (at < 0) return;
      slots[at].classList.add("perf-on");
      tip.textContent = words[at];
      const box = plot.getBoundingClientRect();
      const line = slots[at].querySelector("line").getBoundingClientRect();
      const left = line.left - box.left;
      const beside = left + 8 + tip.offsetWidth <= box.width ? left + 8 : left - 8 - tip.offsetWidth;
      tip.style.left = `${Math.max(0, beside)}px`;
    }

    const steps = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10, Home: -slots.length, End: slots.length };
    slots.forEach((slot, index) => slot.addEventListener("pointerenter", () => show(index)));
    plot.addEventListener("pointerleave", () => show(-1));
    plot.addEventListener("blur", () => show(-1));
    plot.addEventListener("keydown", (event) => {
      if (event.key === "Escape") show(-1);
      if (!(event.key in steps)) return;
      event.preventDefault();
      const from = at < 0 ? slots.length : at;
      show(Math.min(slots.length - 1, Math.max(0, from + steps[event.key])));
    });
  }

  // The server tells times in the zone of this cookie, which only the console's addresses get.
  function tellZone(tabs) {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const known = `paiid_perf_zone=${zone}`;
    const told = document.cookie.split("; ").includes(known);
    if (!zone || zone === tabs.dataset.zone || told) return; // told: the server does not know such a zone
    document.cookie = `${known}; path=${tabs.querySelector("a").pathname}; max-age=31536000; samesite=lax`;
    if (document.cookie.split("; ").includes(known)) window.location.reload();
  }

  // A page that goes away ends its requests; that is no error of anybody's.
  const quietly = (work) => work.catch(() => {});
  document.querySelectorAll("[data-zone]").forEach(tellZone);
  document.querySelectorAll("[data-follow]").forEach((card) => quietly(follow(card)));
  document.querySelectorAll("[data-await]").forEach((mark) => quietly(awaitChange(mark)));
  document.querySelectorAll("[data-plot]").forEach(explore);
  if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(offerCopy);
})();
