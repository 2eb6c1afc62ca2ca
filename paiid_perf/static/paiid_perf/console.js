// Progressive enhancement: a run's bar that moves, and copy buttons. Everything works without.
(() => {
  "use strict";
  const EVERY_MS = 1000;

  async function follow(card) {
    const bar = card.querySelector("progress");
    const step = card.querySelector("[data-step]");
    const status = card.querySelector("[data-status]");
    for (;;) {
      const answer = await fetch(card.dataset.progress, { headers: { Accept: "application/json" } });
      if (!answer.ok) return;
      const run = await answer.json();
      bar.value = Math.round(100 * run.progress);
      step.textContent = run.step;
      if (status) status.textContent = run.status;
      if (run.status !== "queued" && run.status !== "running") {
        window.location.reload();
        return;
      }
      await new Promise((wake) => setTimeout(wake, EVERY_MS));
    }
  }

  function offerCopy(block) {
    const text = block.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "perf-copy";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    });
    block.append(button);
  }

  document.querySelectorAll("[data-progress]").forEach((card) => follow(card).catch(() => {}));
  if (navigator.clipboard) document.querySelectorAll("[data-copy]").forEach(offerCopy);
})();
