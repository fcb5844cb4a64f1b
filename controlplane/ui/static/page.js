// What the page does beside what HTML does by itself: it follows the events of the control plane, filters while one
// types, and shows which lines of the topology belong to a node. Without it everything works, by loading anew.
"use strict";

const live = () => document.getElementById("live");
const news = document.getElementById("news");
const SOON = 250; // milliseconds: several events of a moment are one
const LATER = 2000; // by then proxies have acknowledged, and what belongs together has been looked at
const timers = new Map();
let asked = 0;

// Put the content of an address in the place of what is shown, unless something newer was asked for.
async function show(address) {
  const mine = ++asked;
  const answer = await fetch(address, { headers: { Accept: "text/html" }, redirect: "error" });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const made = fresh.getElementById("live");
  if (mine !== asked || made === null || made.innerHTML === live().innerHTML) return;
  const focused = live().contains(document.activeElement) ? mark(document.activeElement) : null;
  const scrolled = [...live().querySelectorAll(".wide, .text")].map((each) => [each.scrollLeft, each.scrollTop]);
  live().replaceWith(document.adoptNode(made));
  live().querySelectorAll(".wide, .text").forEach((each, place) => {
    if (scrolled[place]) [each.scrollLeft, each.scrollTop] = scrolled[place];
  });
  if (focused !== null) [...live().querySelectorAll("a, [tabindex]")].find((each) => mark(each) === focused)?.focus();
  watchPicture();
}

// By what an element is known again after its page was made anew.
const mark = (element) => element.getAttribute("href") ?? element.getAttribute("aria-label");

function refresh() {
  if (document.querySelector("[data-asks]") !== null) return; // an answer to a question stays
  show(location.href).then(
    () => document.documentElement.setAttribute("data-refreshed", String(asked)),
    () => { news.textContent = "The control plane does not answer; what is shown may be old."; },
  );
}

function after(pause, name, act) {
  clearTimeout(timers.get(name));
  timers.set(name, setTimeout(act, pause));
}

function follow() {
  const events = new EventSource(`/api/v1/events/stream?after=${document.body.dataset.lastEvent}`);
  let broken = false;
  events.onopen = () => {
    if (broken) refresh();
    broken = false;
    document.documentElement.setAttribute("data-follows", "");
  };
  events.onerror = () => {
    broken = true;
    news.textContent = "Not connected to the control plane; trying again.";
  };
  events.onmessage = (message) => {
    const event = JSON.parse(message.data);
    const names = [...event.changed, ...event.removed, ...event.refused].slice(0, 3).join(", ");
    news.textContent = `${new Date(event.at).toLocaleTimeString()}: ${event.happened}${names && ` ${names}`}`;
    after(SOON, "soon", refresh);
    after(LATER, "later", refresh);
  };
}

function filter() {
  const form = document.querySelector("form.ask:not([data-asks])");
  form?.addEventListener("input", () => after(SOON, "filter", () => {
    const wanted = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== ""));
    const address = `${form.getAttribute("action")}${wanted.size ? `?${wanted}` : ""}`;
    history.replaceState(null, "", address);
    show(address).catch(() => form.submit());
  }));
}

function watchPicture() {
  const picture = document.querySelector(".picture svg");
  picture?.querySelectorAll("[data-node]").forEach((node) => {
    const choose = (chosen) => () => {
      picture.classList.toggle("chosen", chosen);
      picture.querySelectorAll(".edge").forEach((edge) => {
        const near = [edge.dataset.from, edge.dataset.to].includes(node.dataset.node);
        edge.classList.toggle("near", chosen && near);
      });
    };
    for (const name of ["mouseenter", "focus"]) node.addEventListener(name, choose(true));
    for (const name of ["mouseleave", "blur"]) node.addEventListener(name, choose(false));
  });
}

filter();
watchPicture();
follow();
