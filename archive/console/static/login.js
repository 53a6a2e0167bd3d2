// Signing in: carries bytes between the server and the browser's passkeys. Nothing is decided here.
"use strict";
(() => {
  const form = document.getElementById("passkey");
  const message = document.getElementById("message");
  // A link's token stands behind "#" and must outlive a change of language.
  for (const link of document.querySelectorAll("nav a")) link.href += location.hash;
  if (!form) return;

  const toBytes = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (character) => character.charCodeAt(0));
  const toText = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const descriptors = (list) => (list || []).map((each) => ({ ...each, id: toBytes(each.id) }));

  const say = (text, isError) => {
    message.textContent = text;
    message.classList.toggle("error", isError);
  };

  const post = async (path, body) => {
    const answer = await fetch(path, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.message || told.detail);
    return told;
  };

  const useKey = async (options) => {
    const publicKey = { ...options, challenge: toBytes(options.challenge) };
    if (options.user) {
      publicKey.user = { ...options.user, id: toBytes(options.user.id) };
      publicKey.excludeCredentials = descriptors(options.excludeCredentials);
      return navigator.credentials.create({ publicKey });
    }
    publicKey.allowCredentials = descriptors(options.allowCredentials);
    return navigator.credentials.get({ publicKey });
  };

  const answerOf = (credential) => {
    const response = {};
    for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
      if (credential.response[name]) response[name] = toText(credential.response[name]);
    }
    return { id: credential.id, rawId: toText(credential.rawId), type: credential.type, response, clientExtensionResults: {} };
  };

  const signIn = async () => {
    if (!window.PublicKeyCredential) return say(form.dataset.missing, true);
    const fields = Object.fromEntries(new FormData(form));
    const options = await post(form.dataset.begin, { ...fields, token: location.hash.slice(1) });
    say(form.dataset.waiting, false);
    let credential;
    try {
      credential = await useKey(options);
    } catch {
      return say(form.dataset.cancelled, true);
    }
    const done = await post(form.dataset.complete, { answer: answerOf(credential), to: form.dataset.to });
    location.assign(done.to);
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    try {
      await signIn();
    } catch (error) {
      say(error instanceof TypeError ? form.dataset.failed : error.message, true);
    } finally {
      button.disabled = false;
    }
  });
})();
