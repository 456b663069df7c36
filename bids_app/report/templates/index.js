"use strict";
const table = document.getElementById("participants"), rows = [...table.tBodies[0].rows];
const storage = "pellucid-ratings " + location.pathname;
let ratings = {};
try { ratings = JSON.parse(localStorage.getItem(storage)) || {}; }
catch { document.getElementById("not-kept").hidden = false; }

const key = row => row.dataset.participant + " " + row.dataset.session;
const rating = row => ratings[key(row)] || { rating: "", reason: "" };

function show() {
  const shown = document.getElementById("shown").value;
  for (const row of rows) {
    const rated = rating(row).rating !== "";
    row.hidden = shown === "attention" && !row.classList.contains("attention")
      || shown === "rated" && !rated || shown === "unrated" && rated;
  }
  document.getElementById("count").textContent =
    `${rows.filter(row => !row.hidden).length} of ${rows.length} shown, ${rows.filter(row => rating(row).rating).length} rated`;
}

function rate(row, change) {
  ratings[key(row)] = { ...rating(row), ...change };
  try { localStorage.setItem(storage, JSON.stringify(ratings)); }
  catch { document.getElementById("not-kept").hidden = false; }
}

function save(name, wanted, columns) {
  const cell = text => text.replace(/["\s]+/g, " ").trim() || "n/a";
  const lines = rows.filter(row => wanted(rating(row).rating)).map(row => {
    const values = { participant_id: row.dataset.participant, session_id: row.dataset.session, ...rating(row) };
    return columns.map(column => cell(values[column])).join("\t") + "\n";
  });
  const link = document.createElement("a");
  link.href = "data:text/tab-separated-values;charset=utf-8," + encodeURIComponent(columns.join("\t") + "\n" + lines.join(""));
  link.download = name;
  link.click();
}

const header = document.createElement("th");
header.textContent = "rating and reason";
header.className = "unsorted";
table.tHead.rows[0].append(header);
for (const row of rows) {
  const choice = document.createElement("select"), reason = document.createElement("input");
  for (const text of ["", "exclude", "unsure"]) choice.add(new Option(text || "none", text));
  choice.setAttribute("aria-label", "rating of " + key(row).replace(" n/a", ""));
  reason.setAttribute("aria-label", "reason for the rating of " + key(row).replace(" n/a", ""));
  [choice.value, reason.value] = [rating(row).rating, rating(row).reason];
  choice.addEventListener("change", () => { rate(row, { rating: choice.value }); show(); });
  reason.addEventListener("input", () => rate(row, { reason: reason.value }));
  row.insertCell().append(choice, reason);
}
document.getElementById("shown").addEventListener("change", show);
document.getElementById("save-exclude").addEventListener("click",
  () => save("exclude.tsv", text => text === "exclude", ["participant_id", "session_id", "reason"]));
document.getElementById("save-ratings").addEventListener("click",
  () => save("ratings.tsv", text => text !== "", ["participant_id", "session_id", "rating", "reason"]));
document.getElementById("rating").hidden = false;
show();
