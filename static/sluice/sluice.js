// Comfort only: every page and every operation works without this.
(function () {
  "use strict";

  document.documentElement.classList.add("s-script");

  function words(seconds) {
    const minutes = Math.floor(seconds / 60);
    const hours = Math.floor(seconds / 3600);
    const days = Math.floor(seconds / 86400);
    if (seconds < 60) return `${seconds} s`;
    if (minutes < 60) return `${minutes} min`;
    if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
    return hours % 24 ? `${days} d ${hours % 24} h` : `${days} d`;
  }

  function keepTimesCurrent() {
    const now = Date.now();
    document.querySelectorAll("time.s-when").forEach(function (time) {
      const seconds = Math.trunc((new Date(time.dateTime).getTime() - now) / 1000);
      const text = words(Math.abs(seconds));
      time.textContent = seconds === 0 ? "now" : seconds > 0 ? `in ${text}` : `${text} ago`;
    });
  }

  // The clipboard's own interface exists only on https and localhost.
  function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    return Promise.resolve();
  }

  document.addEventListener("click", function (event) {
    const button = event.target.closest(".s-copy");
    if (!button) return;
    event.preventDefault();
    copy(button.dataset.copy).then(function () {
      const icon = button.querySelector("span");
      button.classList.add("s-copied");
      icon.textContent = "check";
      setTimeout(function () {
        button.classList.remove("s-copied");
        icon.textContent = "content_copy";
      }, 1200);
    });
  });

  // A second click while the first submission is under way would only be refused.
  document.addEventListener("submit", function (event) {
    const button = event.target.closest(".s-form") && event.target.querySelector("button[type=submit]");
    if (!button) return;
    setTimeout(function () { button.disabled = true; }, 0);
    // A download leaves the page where it is, and tells it nothing: soon another may be asked for.
    const note = event.target.querySelector(".s-downloading");
    if (!note) return;
    note.hidden = false;
    setTimeout(function () { button.disabled = false; }, 5000);
  });

  // `g` then a letter goes somewhere; `/` searches; `e` leads to the export. Nothing that moves money has a key.
  const places = { o: "", n: "needs-me/", b: "batches/batchconversion/", a: "payouts/accumulation/",
    p: "hostpay/hostpayment/", t: "hostpay/transaction/", c: "batches/thresholdcheck/" };
  let isGoing = false;
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (event.key === "/") {
      const field = document.querySelector("#searchbar");
      event.preventDefault();
      if (field) field.focus();
      else window.dispatchEvent(new CustomEvent("opencommand"));
    } else if (isGoing && event.key in places) {
      const home = document.querySelector("#site-name a");
      if (home) window.location.assign(home.getAttribute("href") + places[event.key]);
    }
    const keyed = isGoing ? null : [...document.querySelectorAll("a[aria-keyshortcuts]")]
      .find(function (link) { return link.getAttribute("aria-keyshortcuts") === event.key; });
    if (keyed) keyed.click();
    isGoing = event.key === "g";
  });

  document.addEventListener("DOMContentLoaded", keepTimesCurrent);
  setInterval(keepTimesCurrent, 1000);
})();
