/* A little comfort on pages that work without it: keys, copy, relative times, dialogs, one submit. */
(() => {
  "use strict";

  const say = (text) => {
    const place = document.getElementById("announce");
    if (place) place.textContent = text;
  };

  /* ---- relative times: the same rule as relative_text() in apps/web/templatetags/gt.py */
  const relative = (moment, now) => {
    const seconds = (now - moment) / 1000;
    const size = Math.abs(seconds);
    if (size < 45) return seconds < 0 ? "in a moment" : "just now";
    let text;
    if (size < 3570) text = `${Math.max(1, Math.round(size / 60))}\u00a0min`;
    else if (size < 84600) text = `${Math.round(size / 3600)}\u00a0h`;
    else if (size < 14 * 86400) {
      const days = Math.max(1, Math.round(size / 86400));
      text = `${days}\u00a0day${days === 1 ? "" : "s"}`;
    } else return null;
    return seconds < 0 ? `in\u00a0${text}` : `${text}\u00a0ago`;
  };

  const refreshTimes = () => {
    const now = Date.now();
    for (const element of document.querySelectorAll("time[data-rel]")) {
      const text = relative(Date.parse(element.dateTime), now);
      if (text && element.textContent !== text) element.textContent = text;
    }
  };

  /* ---- dialogs: a link to #id opens the dialog as a modal instead of by its address */
  const openDialog = (dialog) => {
    if (!dialog.open) dialog.showModal();
    const first = dialog.querySelector("textarea, input:not([type=hidden]), select");
    if (first) first.focus();
  };

  const closeDialog = (element) => {
    const dialog = element.closest("dialog");
    if (!dialog) return false;
    if (dialog.open) dialog.close();
    else history.replaceState(null, "", location.pathname + location.search);
    return true;
  };

  /* ---- what needs a script is shown only where there is one */
  const reveal = (root) => {
    for (const element of root.querySelectorAll("[data-copy][hidden], [data-keys-switch][hidden]")) {
      element.hidden = false;
    }
  };

  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      const text = button.parentElement.querySelector("code");
      if (!text) return;
      getSelection().selectAllChildren(text);
      say("Selected. Copy it with your keyboard.");
      return;
    }
    button.dataset.done = "";
    say("Copied.");
    setTimeout(() => delete button.dataset.done, 1500);
  };

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    const copier = target.closest("[data-copy]");
    if (copier) {
      event.preventDefault();
      copy(copier);
      return;
    }
    const opener = target.closest("[data-dialog]");
    if (opener) {
      const dialog = document.getElementById(opener.dataset.dialog);
      if (dialog) {
        event.preventDefault();
        openDialog(dialog);
      }
      return;
    }
    const closer = target.closest("[data-close]");
    if (closer && closeDialog(closer)) {
      event.preventDefault();
      return;
    }
    if (target instanceof HTMLDialogElement && target.open) target.close();
    for (const menu of document.querySelectorAll("details[data-menu][open]")) {
      if (!menu.contains(target)) menu.open = false;
    }
  });

  /* ---- a form is sent once; going back to the page makes it usable again */
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement) || form.method === "get" || event.defaultPrevented) return;
    if (form.dataset.sent !== undefined) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "";
    form.setAttribute("aria-busy", "true");
  });

  const release = () => {
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      form.removeAttribute("aria-busy");
    }
  };
  window.addEventListener("pageshow", release);
  document.addEventListener("htmx:afterRequest", release);

  /* ---- keys */
  const KEYS = "govtrack.keys";
  const keysOn = () => {
    try {
      return localStorage.getItem(KEYS) !== "off";
    } catch {
      return true;
    }
  };

  const rows = () =>
    [...document.querySelectorAll("[data-list] [data-row]")].filter(
      (link) => link.getClientRects().length > 0,
    );

  const move = (step) => {
    const links = rows();
    if (!links.length) return;
    const row = document.activeElement?.closest("tr, li, article");
    const at = links.findIndex((link) => link === document.activeElement || row?.contains(link));
    const next = at < 0 ? (step > 0 ? 0 : links.length - 1) : at + step;
    const link = links[Math.max(0, Math.min(links.length - 1, next))];
    link.focus({ focusVisible: true });
    link.scrollIntoView({ block: "nearest" });
  };

  document.addEventListener("keydown", (event) => {
    const target = event.target instanceof Element ? event.target : document.body;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Escape") {
      for (const menu of document.querySelectorAll("details[data-menu][open]")) {
        menu.open = false;
        menu.querySelector("summary").focus();
      }
      if (target.matches("[data-search]")) target.blur();
      return;
    }
    if (event.key === " " && target.matches("a[role=button]")) {
      event.preventDefault();
      target.click();
      return;
    }
    if (target.closest("input, textarea, select, [contenteditable], dialog") || !keysOn()) return;
    if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "?") {
      const help = document.getElementById("keys");
      if (help) openDialog(help);
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.id !== "keys-on") return;
    try {
      localStorage.setItem(KEYS, event.target.checked ? "on" : "off");
    } catch {
      /* private windows may refuse; the choice then lasts for this page */
    }
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    reveal(event.target);
    refreshTimes();
  });

  const start = () => {
    reveal(document);
    refreshTimes();
    setInterval(refreshTimes, 20000);
    const choice = document.getElementById("keys-on");
    if (choice) choice.checked = keysOn();
    const named = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    if (named instanceof HTMLDialogElement) openDialog(named);
  };

  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", start);
  else start();
})();
