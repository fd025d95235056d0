"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const ROW = 76, OVERSCAN = 6, KEY = "pumlc-review-" + data.id, LONGEST = 20000;
  const LISTS = [
    ["unknown", "Add a tag", "The labels say neither: yes adds it, no says that it is absent."],
    ["absent", "Missing tag", "It is labelled absent: yes adds it, no leaves it absent."],
    ["present", "Wrong tag", "It is labelled present: yes keeps it, no removes it."],
  ];
  const WORDS = { present: "yes", absent: "no", unknown: "cannot say" };
  const byId = (id) => document.getElementById(id);
  const made = (name, properties = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (key in element) element[key] = value; else element.setAttribute(key, value);
    }
    element.append(...children);
    return element;
  };
  // control and direction characters are shown, not obeyed
  const shown = (text) => {
    const whole = text.length > LONGEST ? text.slice(0, LONGEST) + " …" : text;
    return whole.replace(/[\u0000-\u001f\u007f]/g, (c) => c === "\u007f" ? "\u2421" : String.fromCharCode(0x2400 + c.charCodeAt(0)))
      .replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f]/g, "\ufffd");
  };
  const words = (text, kind) => made("bdi", kind ? { className: kind } : {}, shown(text));
  const className = (column) => data.classes[column];
  const picture = (place) => {
    const source = byId("picture-" + place);
    return source === null ? null : "data:image/jpeg;base64," + source.textContent;
  };

  // decisions: number of a suspect -> [answer]; the order they came in, for undo
  const keyOf = (s) => JSON.stringify([data.items[s.item].name, className(s.column)]);
  const numberOf = new Map(data.suspects.map((s, number) => [keyOf(s), number]));
  const decisions = new Map();
  let order = [];
  const warn = (text) => { byId("warning").textContent = text; byId("warning").hidden = false; };
  const restore = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(KEY) || "[]");
      for (const [key, answer] of kept) {
        if (numberOf.has(key) && answer in WORDS) { decisions.set(numberOf.get(key), answer); order.push(numberOf.get(key)); }
      }
    } catch (error) {
      warn("This browser keeps no decisions for this page (" + error.message + "): download the corrections before you close it.");
    }
  };
  const keep = () => {
    try {
      localStorage.setItem(KEY, JSON.stringify(order.map((number) => [keyOf(data.suspects[number]), decisions.get(number)])));
    } catch (error) {
      warn("This browser could not keep your last decision (" + error.message + "): download the corrections now.");
    }
  };

  let list = "unknown", visible = [], at = 0;
  const chosen = () => data.suspects[visible[at]];
  const sortings = {
    suspicion: (a, b) => b.suspicion - a.suspicion,
    class: (a, b) => a.column - b.column || b.suspicion - a.suspicion,
  };
  const ordered = (numbers) => {
    const sort = byId("sort").value;
    const by = (compare) => numbers.sort((a, b) => compare(data.suspects[a], data.suspects[b]) || a - b);
    if (sort !== "item") return by(sortings[sort]);
    const worst = new Map();
    for (const number of numbers) {
      const s = data.suspects[number];
      worst.set(s.item, Math.max(worst.has(s.item) ? worst.get(s.item) : -Infinity, s.suspicion));
    }
    return by((a, b) => worst.get(b.item) - worst.get(a.item) || a.item - b.item || b.suspicion - a.suspicion);
  };
  const filtered = () => {
    const column = byId("class").value, part = byId("part").value, state = byId("state").value;
    const numbers = [];
    data.suspects.forEach((s, number) => {
      if (s.given !== list) return;
      if (column !== "" && s.column !== Number(column)) return;
      if (part !== "" && data.items[s.item].part !== data.parts[Number(part)]) return;
      if (state === "left" && decisions.has(number) || state === "decided" && !decisions.has(number)) return;
      numbers.push(number);
    });
    return ordered(numbers);
  };

  const rows = new Map();
  const row = (place) => {
    const number = visible[place], s = data.suspects[number], source = picture(s.item), answer = decisions.get(number);
    const image = source === null ? made("span") : made("img", { src: source, alt: "" });
    const note = made("span", { className: "note" + (answer ? " answer-" + answer : "") },
      answer ? "decided: " + WORDS[answer] : s.wrong === null ? "" : "wrong with probability " + s.wrong.toFixed(2));
    const element = made("div", { className: "row", id: "row-" + place, role: "option" }, image,
      made("div", { className: "words" }, words(className(s.column), "class"), words(data.items[s.item].name, "name"), note));
    element.style.top = place * ROW + "px";
    element.setAttribute("aria-selected", String(place === at));
    element.setAttribute("aria-posinset", String(place + 1));
    element.setAttribute("aria-setsize", String(visible.length));
    element.addEventListener("click", () => { at = place; moved(); });
    return element;
  };
  const renderList = () => {
    const box = byId("list"), first = Math.max(0, Math.floor(box.scrollTop / ROW) - OVERSCAN);
    const last = Math.min(visible.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + OVERSCAN);
    for (const [place, element] of rows) {
      if (place < first || place >= last) { element.remove(); rows.delete(place); }
    }
    for (let place = first; place < last; place++) {
      if (!rows.has(place)) { const element = row(place); rows.set(place, element); byId("spacer").append(element); }
    }
  };
  const renderAnew = () => {
    for (const element of rows.values()) element.remove();
    rows.clear();
    byId("spacer").style.height = visible.length * ROW + "px";
    renderList();
  };
  const refreshRow = (place) => {
    const old = rows.get(place);
    if (old === undefined) return;
    const element = row(place);
    rows.set(place, element);
    old.replaceWith(element);
  };

  const strip = (title, places) => {
    if (!places.length) return [];
    const figures = places.map((place) => {
      const source = picture(place), name = data.items[place].name;
      const subject = source === null ? made("div", { className: "text" }, shown((data.items[place].text || "").slice(0, 200))) : made("img", { src: source, alt: "", loading: "lazy" });
      return made("figure", {}, subject, made("figcaption", {}, words(name)));
    });
    return [made("h2", {}, title), made("div", { className: "strip", tabIndex: 0, role: "group", "aria-label": title }, ...figures)];
  };
  const renderDetail = () => {
    const question = byId("question"), says = byId("says"), subject = byId("subject"), tags = byId("tags"), beside = byId("beside");
    for (const element of [question, says, subject, tags, beside]) element.replaceChildren();
    const none = !visible.length;
    for (const button of document.querySelectorAll("[data-answer]")) button.disabled = none;
    if (none) {
      question.textContent = data.suspects.some((s) => s.given === list) ? "Nothing is left with these filters." : "Nothing suspicious in this list.";
      return;
    }
    const s = chosen(), item = data.items[s.item], answer = decisions.get(visible[at]);
    question.append(item.text === null ? "Does the picture show " : "Does the text have the label ", made("strong", {}, words(className(s.column))), "?");
    says.textContent = LISTS.find(([given]) => given === list)[2];
    for (const button of document.querySelectorAll("[data-answer]")) button.setAttribute("aria-pressed", String(button.dataset.answer === answer));
    const source = picture(s.item);
    if (source !== null) subject.append(made("img", { src: source, alt: "The picture to decide on", id: "large" }));
    if (item.text !== null) subject.append(made("p", { className: "text", tabIndex: 0 }, shown(item.text)));
    subject.append(made("figcaption", {}, words(item.name), ", part ", words(item.part)));
    const tagsOf = (title, columns) => columns.length ? [made("h2", {}, title), made("div", {}, ...columns.map((column) => {
      const tag = words(className(column), "tag" + (column === s.column ? " asked" : ""));
      tag.title = shown(className(column)).slice(0, 500);
      return tag;
    }))] : [];
    tags.append(...tagsOf("Labelled present", item.present), ...tagsOf("Labelled absent", item.absent.slice(0, 60)));
    beside.append(...strip("Typical of this class", (data.typical[String(s.column)] || []).slice(0, 8)), ...strip("Nearest that have the tag", s.similar));
  };

  // beta prior of the audit's own estimate, worth 10 labels, and the last 50 decisions of the list
  const forecast = () => {
    const ordinary = visible.filter((number) => !decisions.has(number)).slice(0, 100);
    if (!ordinary.length) return "";
    const estimates = ordinary.map((number) => data.suspects[number].wrong).filter((p) => p !== null);
    const expected = estimates.length ? estimates.reduce((a, b) => a + b, 0) / estimates.length : 0.5;
    const strength = estimates.length ? 10 : 1;
    const judged = order.filter((number) => data.suspects[number].given === list && decisions.get(number) !== "unknown").slice(-50);
    const wrong = judged.filter((number) => decisions.get(number) !== (list === "present" ? "present" : "absent")).length;
    const a = strength * expected + wrong, b = strength * (1 - expected) + judged.length - wrong, n = ordinary.length;
    const mean = a / (a + b), spread = Math.sqrt(n * mean * (1 - mean) * (a + b + n) / (a + b + 1));
    const low = Math.max(0, Math.floor(n * mean - 1.96 * spread)), high = Math.min(n, Math.ceil(n * mean + 1.96 * spread));
    return `of the next ${n} about ${Math.round(n * mean)} are wrong (95 %: ${low} to ${high})`;
  };
  const sizeOf = (given) => data.suspects.reduce((count, s) => count + (s.given === given), 0);
  const doneOf = (given) => order.filter((number) => data.suspects[number].given === given).length;
  const finished = () => {
    if (!sizeOf(list) || doneOf(list) < sizeOf(list)) return "";
    const open = LISTS.find(([given]) => doneOf(given) < sizeOf(given));
    return open ? `This list is done. Next: ${open[1]}.` : "Everything is decided: download the corrections.";
  };
  const renderProgress = () => {
    const all = sizeOf(list), done = doneOf(list);
    byId("bar").max = Math.max(1, all);
    byId("bar").value = done;
    byId("count").textContent = `${done} decided, ${all - done} left`;
    byId("forecast").textContent = forecast();
    byId("finished").textContent = finished();
    byId("undo").disabled = !order.length;
    byId("download").disabled = !order.length;
  };
  const reveal = () => {
    const box = byId("list"), top = at * ROW;
    if (top < box.scrollTop) box.scrollTop = top;
    if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
  };
  let marked = -1;
  const moved = () => {
    reveal();
    renderList();
    const before = rows.get(marked), now = rows.get(at);
    if (before !== undefined) before.setAttribute("aria-selected", "false");
    if (now !== undefined) { now.setAttribute("aria-selected", "true"); byId("list").setAttribute("aria-activedescendant", now.id); }
    else byId("list").removeAttribute("aria-activedescendant");
    marked = at;
    renderDetail();
  };
  const refilter = () => {
    visible = filtered();
    at = Math.max(0, visible.findIndex((number) => !decisions.has(number)));
    marked = at;
    byId("list").scrollTop = 0;
    for (const button of byId("lists").children) button.setAttribute("aria-pressed", String(button.dataset.list === list));
    renderAnew();
    moved();
    renderProgress();
  };

  const decide = (answer) => {
    if (!visible.length) return;
    const number = visible[at];
    if (decisions.has(number)) order = order.filter((other) => other !== number);
    decisions.set(number, answer);
    order.push(number);
    keep();
    refreshRow(at);
    if (at + 1 < visible.length) at += 1;
    moved();
    renderProgress();
  };
  const undo = () => {
    if (!order.length) return;
    const number = order.pop();
    decisions.delete(number);
    keep();
    if (data.suspects[number].given !== list || !visible.includes(number)) {
      list = data.suspects[number].given;
      fillClasses();
      for (const id of ["class", "part"]) byId(id).value = "";
      byId("state").value = "all";
      refilter();
    }
    at = visible.indexOf(number);
    refreshRow(at);
    moved();
    renderProgress();
  };
  const step = (by) => {
    const place = Math.min(visible.length - 1, Math.max(0, at + by));
    if (visible.length && place !== at) { at = place; moved(); }
  };

  // a leading quote keeps spreadsheets from taking a name for a formula; the reader takes it off
  const cell = (text) => '"' + (/^['=+\-@\t\r]/.test(text) ? "'" + text : text).replace(/"/g, '""') + '"';
  const corrections = () => {
    const lines = order.map((number) => {
      const s = data.suspects[number];
      return [data.items[s.item].name, className(s.column), s.given, decisions.get(number)].map(cell).join(",");
    });
    return "image,class,given,corrected\r\n" + lines.map((line) => line + "\r\n").join("");
  };
  const download = () => {
    const link = made("a", { href: URL.createObjectURL(new Blob([corrections()], { type: "text/csv;charset=utf-8" })), download: "corrections.csv" });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  };

  data.parts = [...new Set(data.suspects.map((s) => data.items[s.item].part))];
  const fill = (select, title, names) => {
    select.replaceChildren(made("option", { value: "" }, title));
    names.forEach(([value, name]) => select.append(made("option", { value: String(value) }, shown(name))));
  };
  const fillClasses = () => {
    const counts = new Map(), before = byId("class").value;
    for (const s of data.suspects) if (s.given === list) counts.set(s.column, (counts.get(s.column) || 0) + 1);
    fill(byId("class"), "all classes", [...counts.keys()].sort((a, b) => a - b).map((column) => [column, `${className(column).slice(0, 60)} (${counts.get(column)})`]));
    byId("class").value = counts.has(Number(before)) ? before : "";
  };
  fill(byId("part"), "all parts", data.parts.map((name, place) => [place, name.slice(0, 80)]));
  for (const [given, title, note] of LISTS) {
    const button = made("button", { type: "button", title: note }, `${title} (${sizeOf(given)})`);
    button.dataset.list = given;
    button.addEventListener("click", () => { list = given; fillClasses(); refilter(); });
    byId("lists").append(button);
  }
  list = (LISTS.find(([given]) => data.suspects.some((s) => s.given === given)) || LISTS[0])[0];
  byId("command").textContent = data.command;
  byId("applying").textContent = data.apply || "";
  byId("apply").hidden = data.apply === null;
  // after a choice by mouse the keys decide again; by keyboard the choice may go on
  let pointed = false;
  document.addEventListener("pointerdown", () => { pointed = true; }, true);
  document.addEventListener("keydown", () => { pointed = false; }, true);
  for (const id of ["sort", "class", "part", "state"]) {
    byId(id).addEventListener("change", () => { refilter(); if (pointed) byId("list").focus(); });
  }
  for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", () => decide(button.dataset.answer));
  byId("undo").addEventListener("click", undo);
  byId("download").addEventListener("click", download);
  byId("list").addEventListener("scroll", renderList, { passive: true });
  window.addEventListener("resize", renderList);
  const keys = {
    y: () => decide("present"), n: () => decide("absent"), u: () => decide("unknown"), z: undo,
    ArrowDown: () => step(1), ArrowRight: () => step(1), ArrowUp: () => step(-1), ArrowLeft: () => step(-1),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLSelectElement) return;
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
  restore();
  fillClasses();
  refilter();
})();
