/* What pages do beyond plain forms: each works without it. A region with data-live is fetched again until it says it
   is over; a form with data-follow sends itself while its slider moves and puts the answer in the place it names. */
"use strict";
(() => {
  const renew = async (address, selector) => {
    const answer = await fetch(address, { credentials: "same-origin", headers: { accept: "text/html" } });
    if (!answer.ok) return null;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const found = page.querySelector(selector), old = document.querySelector(selector);
    if (!found || !old) return null;
    old.replaceWith(document.importNode(found, true));
    return document.querySelector(selector);
  };
  const watch = async (region) => {
    if (!region || region.dataset.live !== "running") return;
    await new Promise((resolve) => setTimeout(resolve, 1000));
    watch((await renew(location.href, "[data-live]")) ?? region);
  };
  watch(document.querySelector("[data-live]"));

  for (const form of document.querySelectorAll("form[data-follow]")) {
    let turn = 0;
    const follow = async () => {
      const mine = ++turn;
      await new Promise((resolve) => setTimeout(resolve, 120));
      if (mine !== turn) return;
      const address = `${form.action}?${new URLSearchParams(new FormData(form))}`;
      await renew(address, form.dataset.follow);
      if (mine === turn) history.replaceState(null, "", address);
    };
    form.addEventListener("input", follow);
  }
  for (const box of document.querySelectorAll("input[data-all]")) {
    box.closest("th").hidden = false;
    box.addEventListener("change", () => {
      for (const each of document.querySelectorAll(`input[name="${box.dataset.all}"]`)) each.checked = box.checked;
    });
  }
})();
